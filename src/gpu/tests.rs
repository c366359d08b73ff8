//! The tape against a mock driver that checks what a real one would abort on, under random use.

use super::driver::{Batch, BufferId, Caps, Driver, SLOT, WINDOW};
use super::runtime::{GpuBuffer, Runtime};
use super::tape::Launch;
use crate::base::{Error, Kind, Result};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// What a device would have, and the sum that each buffer holds: a launch adds up its inputs.
#[derive(Default)]
struct Device {
    buffers: HashMap<BufferId, (u64, u64)>,
    gone: HashSet<BufferId>,
    pipelines: HashMap<u32, (usize, usize)>,
    groups: HashMap<u32, (usize, Vec<BufferId>)>,
    batches: usize,
}

struct Mock {
    caps: Caps,
    device: Arc<Mutex<Device>>,
    /// How many of the next batches fail, and how.
    fail: Arc<AtomicU32>,
}

impl Device {
    fn run(&mut self, b: &Batch) {
        self.batches += 1;
        for &(id, size) in &b.create {
            assert!(size >= 256 && size.is_multiple_of(64), "a buffer of {size} bytes");
            assert!(!self.gone.contains(&id), "buffer {id} was dropped");
            self.buffers.entry(id).or_insert((size, 0));
        }
        for p in &b.pipelines {
            assert!(self.pipelines.insert(p.id, (p.inputs, p.outputs)).is_none() || b.again);
        }
        for g in &b.groups {
            for (i, member) in g.buffers.iter().enumerate() {
                assert!(self.buffers.contains_key(member), "group of buffer {member}, which is not there");
                assert!(
                    !(g.inputs..g.buffers.len()).contains(&i) || !g.buffers[..i].contains(member),
                    "read and written"
                );
            }
            self.groups.insert(g.id, (g.inputs, g.buffers.to_vec()));
        }
        for u in &b.uploads {
            let (size, sum) = self.buffers.get_mut(&u.buffer).expect("an upload into a buffer that is there");
            assert!(!u.bytes.is_empty() && u.bytes.len().is_multiple_of(4) && u.bytes.len() as u64 <= *size);
            *sum = u64::from(u.bytes[0]);
        }
        assert_eq!(b.params.len() % SLOT, 0);
        for c in &b.commands {
            assert!(c.grid.iter().all(|&g| g > 0 && g <= 65_535), "grid {:?}", c.grid);
            assert!((c.params as usize).is_multiple_of(SLOT) && (c.params as usize) < b.params.len());
            let (inputs, members) = self.groups.get(&c.group).expect("a group that is there").clone();
            assert_eq!(self.pipelines[&c.pipeline], (inputs, members.len() - inputs));
            let value = 1 + members[..inputs].iter().map(|m| self.buffers[m].1).sum::<u64>();
            for m in &members[inputs..] {
                self.buffers.get_mut(m).expect("a buffer that is there").1 = value % 1_000_003;
            }
        }
        for g in &b.drop_groups {
            self.groups.remove(g);
        }
        for id in &b.drop {
            self.buffers.remove(id);
            assert!(self.gone.insert(*id), "buffer {id} dropped twice");
            assert!(self.groups.values().all(|(_, m)| !m.contains(id)), "a group keeps buffer {id} alive");
        }
    }
}

impl Driver for Mock {
    fn caps(&self) -> &Caps {
        &self.caps
    }
    fn replay(&self, next: &mut dyn FnMut() -> Option<Batch>, done: &mut dyn FnMut(Batch, Result<()>)) -> Result<()> {
        while let Some(batch) = next() {
            let failing = self.fail.load(Relaxed);
            if failing > 0 && !batch.commands.is_empty() {
                self.fail.store(failing - 1, Relaxed);
                // Everything was made before the commands failed.
                let made = Batch {
                    create: batch.create.clone(),
                    pipelines: batch.pipelines.clone(),
                    groups: batch.groups.clone(),
                    again: batch.again,
                    ..Batch::default()
                };
                self.device.lock().unwrap().run(&made);
                let drops =
                    Batch { drop_groups: batch.drop_groups.clone(), drop: batch.drop.clone(), ..Batch::default() };
                self.device.lock().unwrap().run(&drops);
                let batch = Batch { drop_groups: Vec::new(), drop: Vec::new(), ..batch };
                done(batch, Err(Error::op("mock: refused")));
                continue;
            }
            self.device.lock().unwrap().run(&batch);
            done(batch, Ok(()));
        }
        Ok(())
    }
    fn read(&self, buffer: BufferId, _: u64, out: &mut [u8]) -> Result<()> {
        let device = self.device.lock().unwrap();
        let (size, sum) = device.buffers[&buffer];
        assert!(out.len() as u64 <= size);
        out[..4].copy_from_slice(&(sum as u32).to_le_bytes());
        Ok(())
    }
    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

type Mocked = (Arc<Runtime>, Arc<Mutex<Device>>, Arc<AtomicU32>);

fn mocked() -> Mocked {
    let (device, fail) = (Arc::new(Mutex::new(Device::default())), Arc::new(AtomicU32::new(0)));
    let caps = Caps { name: "mock".into(), max_binding: 1 << 20, max_groups: 65_535 };
    let mock = Mock { caps, device: device.clone(), fail: fail.clone() };
    (Runtime::new(0, Box::new(mock)), device, fail)
}

fn launch(runtime: &Arc<Runtime>, ins: &[&Arc<GpuBuffer>], bytes: u64, key: u64) -> Arc<GpuBuffer> {
    let out = runtime.alloc(bytes).unwrap();
    let launch = Launch {
        key: vec![key, ins.len() as u64],
        label: "mock",
        inputs: ins.iter().map(|b| b.id).collect(),
        outputs: [out.id].into_iter().collect(),
        updates: false,
        groups: 1 + bytes * 1000,
        params: vec![0; (key as usize % (WINDOW / 4)) + 1],
    };
    runtime.launch(launch, || String::from("text")).unwrap();
    out
}

fn read(runtime: &Runtime, buffer: &GpuBuffer) -> Result<u64> {
    let mut out = [0u8; 4];
    runtime.read(buffer, 0, &mut out).map(|()| u64::from(u32::from_le_bytes(out)))
}

#[derive(Clone, Debug)]
enum Act {
    Upload(u8, u16),
    Launch(Vec<usize>, u16, u64),
    Drop(usize),
    Read(usize),
    Flush,
    Empty,
    Export(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (any::<u8>(), 1..2000u16).prop_map(|(v, n)| Act::Upload(v, n)),
        (prop::collection::vec(any::<usize>(), 0..6), 1..2000u16, 0..200u64).prop_map(|(i, n, k)| Act::Launch(i, n, k)),
        (prop::collection::vec(any::<usize>(), 0..6), 1..2000u16, 0..200u64).prop_map(|(i, n, k)| Act::Launch(i, n, k)),
        any::<usize>().prop_map(Act::Drop),
        any::<usize>().prop_map(Act::Drop),
        any::<usize>().prop_map(Act::Read),
        Just(Act::Flush),
        Just(Act::Empty),
        any::<usize>().prop_map(Act::Export),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    #[test]
    fn whatever_is_done_the_driver_sees_valid_batches_and_the_right_order(acts in acts()) {
        let (runtime, _, _) = mocked();
        // Live buffers and the sum that each must hold, by the order of calls.
        let mut live: Vec<(Arc<GpuBuffer>, u64)> = Vec::new();
        for act in acts {
            match act {
                Act::Upload(v, n) => live.push((runtime.upload(vec![v; 4 * n as usize]).unwrap(), u64::from(v))),
                Act::Launch(ins, n, key) => {
                    let ins: Vec<_> = ins.iter().filter(|_| !live.is_empty()).map(|i| &live[i % live.len()]).collect();
                    let value = (1 + ins.iter().map(|(_, v)| v).sum::<u64>()) % 1_000_003;
                    let buffers: Vec<_> = ins.iter().map(|(b, _)| b).collect();
                    live.push((launch(&runtime, &buffers, 4 * u64::from(n), key), value));
                }
                Act::Drop(i) if !live.is_empty() => drop(live.swap_remove(i % live.len())),
                Act::Read(i) if !live.is_empty() => {
                    let (buffer, value) = &live[i % live.len()];
                    prop_assert_eq!(read(&runtime, buffer).unwrap(), *value);
                }
                Act::Export(i) if !live.is_empty() => runtime.export(&live[i % live.len()].0).unwrap(),
                Act::Flush => runtime.flush().unwrap(),
                Act::Empty => runtime.empty_cache().unwrap(),
                _ => {}
            }
        }
        for (buffer, value) in &live {
            prop_assert_eq!(read(&runtime, buffer).unwrap(), *value);
        }
        drop(live);
        prop_assert_eq!(runtime.memory().0, 0);
    }
}

#[test]
fn a_failed_batch_spoils_what_it_wrote_and_nothing_else() {
    let (runtime, _, fail) = mocked();
    let kept = runtime.upload(vec![3; 8]).unwrap();
    runtime.flush().unwrap();
    fail.store(1, Relaxed);
    let spoiled = launch(&runtime, &[&kept], 100, 1);
    runtime.flush().unwrap();
    let child = launch(&runtime, &[&spoiled, &kept], 100, 2);
    assert!(read(&runtime, &spoiled).unwrap_err().message().contains("refused"));
    assert!(read(&runtime, &child).unwrap_err().message().contains("refused"));
    assert_eq!(read(&runtime, &kept).unwrap(), 3);
    assert_eq!(read(&runtime, &launch(&runtime, &[&kept], 100, 1)).unwrap(), 4);
}

#[test]
fn a_loop_makes_nothing_new() {
    let (runtime, device, _) = mocked();
    let mut weight = runtime.upload(vec![1; 400]).unwrap();
    let mut before = runtime.counts();
    for round in 0..20 {
        let a = launch(&runtime, &[&weight], 400, 1);
        let b = launch(&runtime, &[&a, &weight], 4000, 2);
        weight = launch(&runtime, &[&b, &a], 400, 3);
        runtime.flush().unwrap();
        let now = runtime.counts();
        if round > 6 {
            assert_eq!((now.buffers, now.pipelines, now.groups), (before.buffers, before.pipelines, before.groups));
        }
        before = now;
    }
    assert_eq!(device.lock().unwrap().batches, 20);
}

#[test]
fn too_much_is_an_error_and_a_dead_device_stays_silent() {
    let (runtime, _, _) = mocked();
    assert_eq!(runtime.alloc(2 << 20).err().unwrap().kind, Kind::Memory);
    let buffer = runtime.alloc(100).unwrap();
    runtime.kill();
    assert!(read(&runtime, &buffer).unwrap_err().message().contains("gone"));
    assert!(runtime.flush().is_err() && runtime.alloc(100).is_err());
}
