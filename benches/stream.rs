//! A 1 MiB part through `Writer` and `Opener`, beside bare AES-256-GCM over the same buffers.
//!
//! `cargo bench --bench stream`; the streams are to reach 85 % of bare.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use burnbag::crypto::{Header, Layout, Opener, RunId, SEGMENT, TAG, TransferKey, Writer};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const PART: usize = 1 << 20;
const RUN: RunId = RunId { transfer: [1; 16], file: [2; 16], run: 0 };

fn stream(c: &mut Criterion) {
    let main = TransferKey::from_bytes([7; 32]).main_key(&RUN.transfer, &RUN.file);
    let header = Header::generate();
    let layout = Layout::of_object(PART as u64).unwrap();
    let text = vec![0x5a; usize::try_from(layout.plaintext()).unwrap()];
    let cipher = Aes256Gcm::new(&[7; 32].into());
    let run = {
        let mut writer = Writer::new(&main, &RUN, header, Vec::with_capacity(PART), PART).unwrap();
        writer.push(&text).unwrap();
        writer.finish().unwrap().0
    };

    let mut group = c.benchmark_group("encrypt");
    group.throughput(Throughput::Bytes(PART as u64));
    // Each is given a part whose pages are there already, as the service's pool gives them.
    group.bench_function("bare", |b| {
        let mut part = vec![0x5a; PART];
        b.iter(|| {
            for segment in part.chunks_mut(SEGMENT) {
                let (text, tag) = segment.split_last_chunk_mut::<TAG>().unwrap();
                let made = cipher.encrypt_inout_detached(&[0; 12].into(), &[], InOutBuf::from(text));
                *tag = made.unwrap().into();
            }
            black_box(&mut part);
        });
    });
    group.bench_function("writer", |b| {
        let mut buffer = vec![0; PART];
        b.iter(|| {
            let fresh = std::mem::take(&mut buffer);
            let mut writer = Writer::new(&main, &RUN, header, fresh, PART).unwrap();
            assert_eq!(writer.push(black_box(&text)).unwrap(), text.len());
            buffer = writer.finish().unwrap().0;
        });
    });
    group.finish();

    let mut group = c.benchmark_group("decrypt");
    group.throughput(Throughput::Bytes(PART as u64));
    let (mut sealed, mut tags) = (vec![0x5a; PART], Vec::new());
    for segment in sealed.chunks_mut(SEGMENT) {
        let text = &mut segment[..SEGMENT - TAG];
        let tag = cipher.encrypt_inout_detached(&[0; 12].into(), &[], InOutBuf::from(text));
        tags.push(tag.unwrap());
    }
    let opener = Opener::new(&main, &RUN, &header, layout);
    group.bench_function("bare", |b| {
        b.iter_batched_ref(
            || sealed.clone(),
            |part| {
                for (segment, tag) in part.chunks_mut(SEGMENT).zip(&tags) {
                    let text = InOutBuf::from(&mut segment[..SEGMENT - TAG]);
                    cipher.decrypt_inout_detached(&[0; 12].into(), &[], text, tag).unwrap();
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("opener", |b| {
        b.iter_batched_ref(
            || run.clone(),
            |part| {
                for (index, segment) in (0u32..).zip(part.chunks_mut(SEGMENT)) {
                    let segment = if index == 0 { &mut segment[40..] } else { segment };
                    black_box(opener.open(index, segment).unwrap());
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, stream);
criterion_main!(benches);
