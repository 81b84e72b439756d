//! Requests through a whole shard without I/O: what core alone costs, of all that a gateway does.

#![allow(missing_docs, reason = "macros of criterion make public items")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench may panic: its input is its own"
)]

mod shard_pump;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shard_pump::{Pump, Traffic};
use tollgate_benches::requests::{Api, Size};

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("null runtime");
    for client in Api::ALL {
        for upstream in Api::ALL {
            for (size, events) in [
                (Size::Small, None),
                (Size::Small, Some(100)),
                (Size::Agent, None),
            ] {
                let traffic = Traffic {
                    client,
                    upstream,
                    size,
                    events,
                };
                let mut pump = Pump::new(traffic);
                group.throughput(Throughput::Bytes(pump.bytes()));
                group.bench_function(traffic.name(), |bencher| bencher.iter(|| pump.request()));
            }
        }
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .sample_size(30)
        .without_plots()
}

criterion_group!(name = benches; config = config(); targets = requests);
criterion_main!(benches);
