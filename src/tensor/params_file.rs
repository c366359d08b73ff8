//! MXNet's `.params` files: a list of arrays with or without names, little-endian, without checksum.
//!
//! A container is a header, the array records and the names. Version 2 records are written; versions 0 to 3 are read.

use crate::base::{DType, Device, Element, Error, Result, Shape};
use crate::tensor::Tensor;
use crate::{ensure, with_dtype};
use std::io::Write;
use std::path::Path;

const LIST: u64 = 0x112;
const V1: u32 = 0xF993_FAC8;
const V2: u32 = 0xF993_FAC9;
const V3: u32 = 0xF993_FACA;
const BAD: &str = "Invalid NDArray file format";

/// Bytes of a container. `names` is empty, or has one name for each array.
pub fn write(arrays: &[Tensor], names: &[String]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for word in [LIST, 0, arrays.len() as u64] {
        out.extend(word.to_le_bytes());
    }
    for array in arrays {
        out.extend(write_record(array)?);
    }
    out.extend((names.len() as u64).to_le_bytes());
    for name in names {
        out.extend((name.len() as u64).to_le_bytes());
        out.extend(name.as_bytes());
    }
    Ok(out)
}

/// Bytes of one array: what a pickle holds.
pub fn write_record(array: &Tensor) -> Result<Vec<u8>> {
    // The format has no array without axes: a reader would take what follows for its dimensions.
    let scalar = array.ndim() == 0;
    let mut out = Vec::new();
    out.extend(if scalar { V3 } else { V2 }.to_le_bytes());
    out.extend(0i32.to_le_bytes());
    out.extend((array.ndim() as i32).to_le_bytes());
    for &dim in array.shape() {
        out.extend((dim as i64).to_le_bytes());
    }
    out.extend((array.device().kind as i32).to_le_bytes());
    out.extend(array.device().id.to_le_bytes());
    out.extend((array.dtype() as i32).to_le_bytes());
    let dense = array.dense()?;
    with_dtype!(array.dtype(), T => dense.slice::<T>().iter().for_each(|&v| put(v, &mut out)));
    Ok(out)
}

fn put<T: Element>(v: T, out: &mut Vec<u8>) {
    match T::DTYPE {
        DType::F32 => out.extend((v.to_f64() as f32).to_bits().to_le_bytes()),
        DType::F64 => out.extend(v.to_f64().to_bits().to_le_bytes()),
        DType::F16 => out.extend(half::f16::from_f64(v.to_f64()).to_le_bytes()),
        DType::U8 | DType::Bool => out.push(v.to_i64() as u8),
        DType::I8 => out.push(v.to_i64() as i8 as u8),
        DType::I32 => out.extend((v.to_i64() as i32).to_le_bytes()),
        DType::I64 => out.extend(v.to_i64().to_le_bytes()),
    }
}

/// A cursor that never reads past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        ensure!(n <= self.0.len(), "load: {BAD}: {n} bytes expected, {} left", self.0.len());
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_le_bytes(self.array()?))
    }
    /// A count of things that take at least `bytes` each: more than could be left is a broken file.
    fn count(&mut self, bytes: usize) -> Result<usize> {
        let n = self.u64()?;
        ensure!(n <= (self.0.len() / bytes) as u64, "load: {BAD}: {n} entries in {} bytes", self.0.len());
        Ok(n as usize)
    }
}

/// Arrays and names of a container.
pub fn read(bytes: &[u8]) -> Result<(Vec<Tensor>, Vec<String>)> {
    let mut r = Reader(bytes);
    ensure!(r.u64()? == LIST, "load: {BAD}: wrong header");
    r.u64()?;
    let n = r.count(8)?;
    let arrays = (0..n).map(|_| record(&mut r)).collect::<Result<Vec<_>>>()?;
    let n = r.count(8)?;
    ensure!(n == 0 || n == arrays.len(), "load: {BAD}: {n} names for {} arrays", arrays.len());
    let names = (0..n)
        .map(|_| {
            let len = r.count(1)?;
            String::from_utf8(r.take(len)?.to_vec())
                .map_err(|_| Error::op(format_args!("load: {BAD}: a name is not UTF-8")))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((arrays, names))
}

/// One array from its bytes.
pub fn read_record(bytes: &[u8]) -> Result<Tensor> {
    record(&mut Reader(bytes))
}

fn record(r: &mut Reader) -> Result<Tensor> {
    let magic = r.u32()?;
    let mut shape = Shape::new();
    let mut dim = |d: i64| -> Result<()> {
        ensure!(d >= 0, "load: {BAD}: negative dimension {d}");
        shape.push(d as usize);
        Ok(())
    };
    match magic {
        V1 | V2 | V3 => {
            if magic != V1 {
                let storage = r.i32()?;
                ensure!(storage == 0, "load: Unknown storage type{storage}: only dense arrays can be read");
            }
            let ndim = r.i32()?;
            ensure!((0..=64).contains(&ndim), "load: {BAD}: {ndim} axes");
            for _ in 0..ndim {
                dim(i64::from_le_bytes(r.array()?))?;
            }
        }
        // Version 0 has no magic number: this word is the number of axes.
        ndim => {
            ensure!(ndim <= 64, "load: {BAD}: {ndim} axes");
            for _ in 0..ndim {
                dim(r.u32()? as i64)?;
            }
        }
    }
    // Where the array was does not matter: it comes back on the CPU.
    r.take(8)?;
    let flag = r.i32()?;
    let dtype = DType::from_flag(flag).ok_or_else(|| Error::op(format_args!("load: Unknown type enum {flag}")))?;
    let size = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
    let size = size.ok_or_else(|| Error::op(format_args!("load: {BAD}: the shape is too large")))?;
    let data = r.take(size)?;
    let mut buffer = crate::base::Buffer::new(size)?;
    with_dtype!(dtype, T => {
        let out = buffer.slice_mut::<T>(0, size / size_of::<T>());
        out.iter_mut().zip(data.chunks_exact(size_of::<T>())).for_each(|(o, b)| *o = get(b));
    });
    Ok(Tensor::from_buffer(shape, dtype, Device::CPU, buffer))
}

fn get<T: Element>(bytes: &[u8]) -> T {
    let mut word = [0u8; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    match T::DTYPE {
        DType::F32 => T::from_f64(f32::from_bits(bits as u32) as f64),
        DType::F64 => T::from_f64(f64::from_bits(bits)),
        DType::F16 => T::from_f64(half::f16::from_bits(bits as u16).to_f64()),
        DType::U8 => T::from_i64(bits as u8 as i64),
        DType::I8 => T::from_i64(bits as i8 as i64),
        DType::I32 => T::from_i64(bits as i32 as i64),
        DType::I64 => T::from_i64(bits as i64),
        DType::Bool => T::from_i64((bits as u8 != 0) as i64),
    }
}

/// Writes a container beside `path` and renames it, so that a failure leaves the old file.
pub fn save(path: &Path, arrays: &[Tensor], names: &[String]) -> Result<()> {
    let fail = |what: &str, e: std::io::Error| Error::op(format_args!("save: {what} {}: {e}", path.display()));
    let bytes = write(arrays, names)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = std::path::PathBuf::from(temporary);
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| std::fs::rename(&temporary, path));
    done.map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        fail("cannot write", e)
    })
}

/// Reads a container.
pub fn load(path: &Path) -> Result<(Vec<Tensor>, Vec<String>)> {
    let bytes =
        std::fs::read(path).map_err(|e| Error::op(format_args!("load: cannot read {}: {e}", path.display())))?;
    read(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_as_documented() {
        let a = Tensor::from_slice(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]).unwrap();
        let bytes = write(&[a], &["w".into()]).unwrap();
        assert_eq!(bytes[..8], [0x12, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..28], [0xc9, 0xfa, 0x93, 0xf9]);
        assert_eq!(bytes.len(), 24 + 40 + 24 + 8 + 9);
        let (arrays, names) = read(&bytes).unwrap();
        assert_eq!(arrays[0].to_vec::<f32>().unwrap(), [1., 2., 3., 4., 5., 6.]);
        assert_eq!(names, ["w"]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let a = Tensor::from_slice(&[3], &[1i64, -2, 3]).unwrap();
        let bytes = write(&[a], &["name".into()]).unwrap();
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut list = [LIST, 0, 1].iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
            list.extend(V2.to_le_bytes());
            list.extend(&bytes);
            let _ = read(&list);
        }
    }
}
