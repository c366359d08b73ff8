//! MXNet's `.params` files: a list of arrays, with or without names. Little-endian, nothing aligned or compressed.
//!
//! Container: `u64` 0x112, `u64` 0, `u64` count, the records, `u64` number of names (0 or the count), then each name
//! as `u64` length and UTF-8. A record is read in any of MXNet's versions and written in the one that 1.9 writes; only
//! an array of shape `()`, which that version cannot hold, is written in the next.

use crate::base::{Buffer, DType, Device, Error, Result, Shape};
use crate::ensure;
use crate::tensor::Tensor;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const HEADER: u64 = 0x112;
/// Dimensions as `i64`, without a storage type.
const V1: u32 = 0xF993_FAC8;
/// With a storage type.
const V2: u32 = 0xF993_FAC9;
/// As V2; the shape `()` is a true scalar.
const V3: u32 = 0xF993_FACA;
const DENSE: i32 = 0;
/// NumPy has no more either.
const MAX_NDIM: usize = 64;

// ---- writing ----

/// The bytes of a file. `names` is empty, or has one for each array.
pub fn write(arrays: &[Tensor], names: &[String]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write_to(&mut out, arrays, names)?;
    Ok(out)
}

/// The record of one array, without a container: what a pickle holds.
pub fn write_record(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    put_record(&mut out, tensor)?;
    Ok(out)
}

/// Writes the file. Until all of it is on the disk, an older file of that name stays as it is.
pub fn save(path: &Path, arrays: &[Tensor], names: &[String]) -> Result<()> {
    check_names(arrays, names)?;
    // Values are computed before a file exists.
    arrays.iter().try_for_each(Tensor::force)?;
    let failed = |error: Error| Error::new(error.kind, format_args!("save: {}: {}", path.display(), error.message()));
    // A link stays one: what it leads to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if std::fs::metadata(&target).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        // A pipe or a device cannot be replaced.
        let mut out = std::fs::OpenOptions::new().write(true).open(&target).map_err(io_error).map_err(failed)?;
        return write_to(&mut out, arrays, names).map_err(failed);
    }
    let temporary = beside(&target);
    let done =
        write_file(&temporary, arrays, names).and_then(|()| std::fs::rename(&temporary, &target).map_err(io_error));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done.map_err(failed)
}

fn write_file(path: &Path, arrays: &[Tensor], names: &[String]) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(io_error)?;
    let mut out = io::BufWriter::new(file);
    write_to(&mut out, arrays, names)?;
    out.into_inner().map_err(|e| io_error(e.into_error()))?.sync_all().map_err(io_error)
}

/// A name in the same folder that nobody uses.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Relaxed)));
    path.with_file_name(name)
}

fn io_error(error: io::Error) -> Error {
    Error::op(error)
}

fn check_names(arrays: &[Tensor], names: &[String]) -> Result<()> {
    let (named, count) = (names.len(), arrays.len());
    ensure!(named == 0 || named == count, "save: names for all arrays or none, got {named} of {count}");
    Ok(())
}

fn write_to(out: &mut dyn Write, arrays: &[Tensor], names: &[String]) -> Result<()> {
    check_names(arrays, names)?;
    let word = |out: &mut dyn Write, v: u64| out.write_all(&v.to_le_bytes()).map_err(io_error);
    word(out, HEADER)?;
    word(out, 0)?;
    word(out, arrays.len() as u64)?;
    for tensor in arrays {
        put_record(out, tensor)?;
    }
    word(out, names.len() as u64)?;
    for name in names {
        word(out, name.len() as u64)?;
        out.write_all(name.as_bytes()).map_err(io_error)?;
    }
    Ok(())
}

fn put_record(out: &mut dyn Write, tensor: &Tensor) -> Result<()> {
    let (shape, dtype, device) = (tensor.shape(), tensor.dtype(), tensor.device());
    let dense = tensor.dense()?;
    let mut head = Vec::with_capacity(32 + 8 * shape.len());
    head.extend(if shape.is_empty() { V3 } else { V2 }.to_le_bytes());
    head.extend(DENSE.to_le_bytes());
    head.extend((shape.len() as i32).to_le_bytes());
    shape.iter().for_each(|&dim| head.extend((dim as i64).to_le_bytes()));
    head.extend((device.kind as i32).to_le_bytes());
    head.extend(device.id.to_le_bytes());
    head.extend((dtype as i32).to_le_bytes());
    out.write_all(&head).and_then(|()| out.write_all(dense.bytes(dtype))).map_err(io_error)
}

// ---- reading ----

/// The arrays of a file and their names: none, or as many.
pub fn read(bytes: &[u8]) -> Result<(Vec<Tensor>, Vec<String>)> {
    let mut file = Reader { rest: bytes };
    let header = file.u64()?;
    ensure!(header == HEADER, "load: Invalid NDArray file format: the header is {header:#x}, expected {HEADER:#x}");
    file.u64()?;
    let count = file.u64()?;
    // No room is made by what a file claims: a record that is not there ends the loop.
    let mut tensors = Vec::new();
    for _ in 0..count {
        tensors.push(file.record()?);
    }
    let named = file.u64()?;
    ensure!(named == 0 || named == count, "load: Invalid NDArray file format: {named} names for {count} arrays");
    let mut names = Vec::new();
    for _ in 0..named {
        let length = file.u64()?;
        let name = file.take(usize::try_from(length).map_err(|_| cut())?)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| Error::op("load: Invalid NDArray file format: a name is no UTF-8"))?;
        names.push(name.to_owned());
    }
    Ok((tensors, names))
}

/// The array of a record without a container.
pub fn read_record(bytes: &[u8]) -> Result<Tensor> {
    Reader { rest: bytes }.record()
}

/// [`read`] of a file.
pub fn load(path: &Path) -> Result<(Vec<Tensor>, Vec<String>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::op(format_args!("load: {}: {e}", path.display())))?;
    read(&bytes)
}

fn cut() -> Error {
    Error::op("load: Invalid NDArray file format: the data ends too early")
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(cut)?;
        self.rest = rest;
        Ok(head)
    }
    fn word<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*head)
    }
    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.word()?))
    }
    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.word()?))
    }
    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.word()?))
    }

    fn record(&mut self) -> Result<Tensor> {
        let magic = self.u32()?;
        if magic == V2 || magic == V3 {
            let storage = self.i32()?;
            let kind = match storage {
                DENSE => None,
                1 => Some("row_sparse"),
                2 => Some("csr"),
                _ => return Err(Error::op(format_args!("load: Unknown storage type {storage}"))),
            };
            if let Some(kind) = kind {
                return Err(Error::op(format_args!(
                    "load: {kind} arrays cannot be read: save them in MXNet as x.tostype('default')"
                )));
            }
        }
        let shape = match magic {
            V1..=V3 => {
                let ndim = usize::try_from(self.i32()?).map_err(|_| Error::op("load: an array has no shape"))?;
                self.shape(ndim, |file| Ok(i64::from_le_bytes(file.word()?)))?
            }
            // The oldest records have no mark: the word is the number of dimensions.
            ndim => self.shape(ndim as usize, |file| Ok(file.u32()? as i64))?,
        };
        // Where the array lived: a build without that device reads the file too.
        let (_kind, _id) = (self.i32()?, self.i32()?);
        let flag = self.i32()?;
        let dtype = DType::from_flag(flag).ok_or_else(|| Error::op(format_args!("load: Unknown type enum {flag}")))?;
        let bytes = crate::base::layout::bytes(&shape, dtype).map_err(|_| cut())?;
        let data = self.take(bytes)?;
        let mut buffer = Buffer::new(bytes)?;
        let out = buffer.slice_mut::<u8>(0, bytes);
        out.copy_from_slice(data);
        if dtype == DType::Bool {
            out.iter_mut().for_each(|b| *b = (*b != 0) as u8);
        }
        Ok(Tensor::from_buffer(shape, dtype, Device::CPU, buffer))
    }

    fn shape(&mut self, ndim: usize, mut dim: impl FnMut(&mut Self) -> Result<i64>) -> Result<Shape> {
        ensure!(ndim <= MAX_NDIM, "load: Invalid NDArray file format: an array of {ndim} dimensions");
        let mut shape = Shape::new();
        for _ in 0..ndim {
            let dim = dim(self)?;
            ensure!(dim >= 0, "load: shape dim size must be 0 or more, got {dim}");
            shape.push(usize::try_from(dim).map_err(|_| cut())?);
        }
        Ok(shape)
    }
}
