//! The text of generated shaders: one for all sizes and numbers, and what it is.

use oxgrad::base::DType;
use oxgrad::gpu::Runtime;
use oxgrad::gpu::driver::Paper;
use oxgrad::gpu::map::{GpuStorage, Operand, run_map};
use oxgrad::graph::Kind;
use oxgrad::ir::program::Scalar;
use oxgrad::ir::{Program, Source};

#[test]
fn equal_programs_have_equal_text_whatever_their_size() {
    let Kind::Map(add) = &oxgrad::ops::binary::ADD.kind else { panic!("ADD is a map") };
    let (paper, sheet) = Paper::new();
    let runtime = Runtime::new(-1, Box::new(paper));
    for (n, number) in [(8usize, 1.0), (4000, -2.5), (7, 1.0)] {
        let mut program = Program { leaves: vec![DType::F32], ..Program::default() };
        let out = program.map(add, DType::F32, &[Source::Reg(0), Source::Scalar(Scalar::Float(number))], &[]);
        program.outputs.push(out);
        let buffer = runtime.alloc(4 * n as u64).unwrap();
        let data = GpuStorage { buffer, strides: [1].into_iter().collect(), offset: 0 };
        run_map(&runtime, &program, &[Operand::Data(data)], &[n], &[]).unwrap();
    }
    runtime.flush().unwrap();
    let batch = sheet.lock().unwrap().pop().unwrap();
    // One for sizes that four divides, one for the others.
    assert_eq!((batch.commands.len(), batch.pipelines.len()), (3, 2));
    assert!(batch.pipelines.iter().all(|p| !p.source.contains("2.5") && !p.source.contains("4000")));
    assert_eq!(batch.pipelines[0].source, include_str!("golden/add.wgsl"));
}
