//! MXNet's `.params` files: bytes as MXNet writes them, every version read, and nothing in a file that does harm.

use oxgrad::base::{DType, Device, Kind};
use oxgrad::tensor::{Scalar, Tensor, params_file as file};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let bytes = |t: &Tensor| t.dense().unwrap().bytes(t.dtype()).to_vec();
    a.shape() == b.shape() && a.dtype() == b.dtype() && bytes(a) == bytes(b)
}

fn message(bytes: &[u8]) -> String {
    file::read(bytes).err().unwrap().message().to_owned()
}

/// `save('a', [ [[1,2,3],[4,5,6]] float32, [7] int64 ])`, recorded from MXNet 1.9.1.
const TWO: &str = "12010000 00000000 00000000 00000000 02000000 00000000
    c9fa93f9 00000000 02000000 02000000 00000000 03000000 00000000 01000000 00000000 00000000
    0000803f 00000040 00004040 00008040 0000a040 0000c040
    c9fa93f9 00000000 01000000 01000000 00000000 01000000 00000000 06000000 07000000 00000000
    00000000 00000000";

fn two() -> [Tensor; 2] {
    [Tensor::from_slice(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]).unwrap(), Tensor::from_slice(&[1], &[7i64]).unwrap()]
}

#[test]
fn the_bytes_are_mxnets() {
    let [a, b] = two();
    assert_eq!(file::write(&[a.clone(), b.clone()], &[]).unwrap(), hex(TWO));
    // A view is saved compact, wherever it starts.
    let turned = a.with_layout(a.layout().unwrap().permute(&[1, 0])).unwrap();
    let back = file::read_record(&file::write_record(&turned).unwrap()).unwrap();
    assert_eq!(back.to_vec::<f32>().unwrap(), [1., 4., 2., 5., 3., 6.]);
    // Names, and the array's own device.
    let pinned = Device { kind: oxgrad::base::device::DeviceType::CpuPinned, id: 2 };
    let bytes = file::write(&[b.on_device(pinned).unwrap(), b.clone()], &["arg:w".into(), "é".into()]).unwrap();
    assert_eq!(bytes[24 + 20..][..8], hex("03000000 02000000"));
    assert!(bytes.ends_with(&hex("02000000 00000000 05000000 00000000 6172673a77 02000000 00000000 c3a9")));
    let (tensors, names) = file::read(&bytes).unwrap();
    assert_eq!(names, ["arg:w", "é"]);
    assert!(tensors.iter().all(|t| same(t, &b) && t.device() == Device::CPU));
    assert!(file::write(&[b.clone(), b], &["a".into()]).is_err());
}

#[test]
fn older_records() {
    let wrap = |record: &str| {
        hex(&format!("12010000 00000000 ffffffff ffffffff 01000000 00000000 {record} 00000000 00000000"))
    };
    let tail = "02000000 05000000 03000000 0102";
    for head in
        ["01000000 02000000", "c8fa93f9 01000000 02000000 00000000", "cafa93f9 00000000 01000000 02000000 00000000"]
    {
        let (tensors, names) = file::read(&wrap(&format!("{head} {tail}"))).unwrap();
        assert_eq!(tensors[0].to_vec::<u8>().unwrap(), [1, 2], "{head}");
        assert!(names.is_empty());
    }
}

#[test]
fn scalars_and_empty_arrays() {
    let full = |shape: &[usize]| Tensor::full(shape, DType::F16, Device::CPU, Scalar::Float(1.5)).unwrap();
    for shape in [&[][..], &[0, 3], &[2, 0], &[1, 1, 1, 1, 1, 2]] {
        let back = file::read_record(&file::write_record(&full(shape)).unwrap()).unwrap();
        assert!(same(&back, &full(shape)), "{shape:?}");
    }
    // MXNet saves the shape () as version 2, and cannot load it.
    let scalar = hex("c9fa93f9 00000000 00000000 01000000 00000000 00000000 0000803f");
    assert_eq!(file::read_record(&scalar).unwrap().to_vec::<f32>().unwrap(), [1.0]);
    // Bytes that are no booleans become some.
    let odd = hex("c9fa93f9 00000000 01000000 02000000 00000000 01000000 00000000 07000000 02ff");
    assert_eq!(file::read_record(&odd).unwrap().dense().unwrap().bytes(DType::Bool), [1, 1]);
}

#[test]
fn broken_files_are_errors() {
    let whole = hex(TWO);
    for end in 0..whole.len() {
        assert!(message(&whole[..end]).contains("Invalid NDArray file format"), "cut at {end}");
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        message(&file)
    };
    assert!(with(0, &[0x13]).contains("header"));
    assert!(with(16, &(1u64 << 40).to_le_bytes()).contains("Invalid NDArray file format"));
    assert!(with(28, &[9]).contains("Unknown storage type 9"));
    assert!(with(28, &[2]).contains("csr"));
    assert!(with(32, &(-1i32).to_le_bytes()).contains("no shape"));
    assert!(with(32, &i32::MAX.to_le_bytes()).contains("dimensions"));
    assert!(with(36, &(-5i64).to_le_bytes()).contains("shape dim size"));
    assert!(with(36, &i64::MAX.to_le_bytes()).contains("too early"));
    assert!(with(36, &(1i64 << 50).to_le_bytes()).contains("too early"));
    assert!(with(60, &[99]).contains("Unknown type enum 99"));
    assert!(with(whole.len() - 8, &[1]).contains("1 names for 2 arrays"));
    assert!(with(whole.len() - 8, &[2]).contains("too early"));
    // Anything after the names is ignored.
    assert_eq!(file::read(&[whole.as_slice(), b"more"].concat()).unwrap().0.len(), 2);
}

#[test]
fn a_failed_save_leaves_the_old_file() {
    let folder = std::env::temp_dir().join(format!("oxgrad-params-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("weights.params");
    let [a, b] = two();
    file::save(&path, std::slice::from_ref(&a), &["a".into()]).unwrap();
    assert!(file::save(&path, &[a.clone(), b.clone()], &["a".into()]).is_err());
    // A value that cannot be computed: it is found out before anything is written.
    let huge = Tensor::full(&[1 << 50], DType::F32, Device::CPU, Scalar::Int(1)).unwrap();
    assert_eq!(file::save(&path, &[b.clone(), huge], &[]).err().unwrap().kind, Kind::Memory);
    let (tensors, names) = file::load(&path).unwrap();
    assert!(same(&tensors[0], &a) && names == ["a"]);
    assert!(file::save(&folder.join("no/such/folder.params"), std::slice::from_ref(&b), &[]).is_err());
    assert!(file::save(&folder, std::slice::from_ref(&b), &[]).is_err());
    assert!(file::load(&folder.join("missing")).is_err());
    #[cfg(unix)]
    {
        let link = folder.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        file::save(&link, std::slice::from_ref(&b), &[]).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(same(&file::load(&path).unwrap().0[0], &b));
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().ends_with(".tmp")), "{left:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A shape, a dtype's number and elements.
fn any_array() -> impl Strategy<Value = (Vec<usize>, i32, Vec<f64>)> {
    (prop::collection::vec(0usize..4, 0..4), 0..8i32, prop::collection::vec(any::<f64>(), 64))
}

fn build((shape, flag, data): &(Vec<usize>, i32, Vec<f64>)) -> Tensor {
    let tensor = Tensor::from_slice(shape, &data[..shape.iter().product()]).unwrap();
    tensor.cast(DType::from_flag(*flag).unwrap()).unwrap()
}

proptest! {
    #[test]
    fn arrays_come_back(described in prop::collection::vec((".{0,5}", any_array()), 0..4), named in any::<bool>()) {
        let tensors: Vec<_> = described.iter().map(|(_, d)| build(d)).collect();
        let want: Vec<_> = described.iter().filter(|_| named).map(|(n, _)| n.clone()).collect();
        let (back, names) = file::read(&file::write(&tensors, &want).unwrap()).unwrap();
        prop_assert!(back.len() == tensors.len() && back.iter().zip(&tensors).all(|(b, t)| same(b, t)));
        prop_assert_eq!(names, want);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (file::read(&bytes), file::read_record(&bytes));
    }

    #[test]
    fn nor_do_changed_files(at in 0usize..152, to in any::<u8>(), end in 0usize..160) {
        let mut bytes = hex(TWO);
        if let Some(b) = bytes.get_mut(at) { *b = to }
        bytes.truncate(end);
        let _ = file::read(&bytes);
    }
}
