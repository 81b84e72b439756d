//! What deciding about a request costs: breaker, key, repetitions, whether anybody waits. Issue 3
//! allows a microsecond for it all.

#![allow(missing_docs, reason = "macros of criterion make public items")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a bench may panic: its input is its own"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tollgate_core::base::{Instant, Rng, Seed};
use tollgate_core::policy::balance::Session;
use tollgate_core::policy::breaker::{Admission, Breaker, BreakerLimits, Verdict};
use tollgate_core::policy::keys::{KeyLimits, KeyRing};
use tollgate_core::policy::lease::Among;
use tollgate_core::policy::queue::{FairQueue, Priority, Standing};
use tollgate_core::policy::retry::{RetryBudget, RetryLimits};

/// Tokens of a request.
const TOKENS: u64 = 5_000;
/// Keys of the provider.
const KEYS: u64 = 4;

/// All that is kept of one target.
struct Policies {
    breaker: Breaker,
    breaker_limits: BreakerLimits,
    keys: KeyRing,
    budget: RetryBudget,
    retry_limits: RetryLimits,
    target_queue: FairQueue<u64>,
    provider_queue: FairQueue<u64>,
    rng: Rng,
    now: Instant,
}

impl Policies {
    fn new(key_limits: &KeyLimits) -> Policies {
        let among = Among { own: 0, shards: 2 };
        Policies {
            breaker: Breaker::default(),
            breaker_limits: BreakerLimits::default(),
            keys: KeyRing::following((0..KEYS).map(|it| (it, None)), key_limits, among),
            budget: RetryBudget::new(),
            retry_limits: RetryLimits::default(),
            target_queue: FairQueue::new(),
            provider_queue: FairQueue::new(),
            rng: Rng::new(Seed(1)),
            now: Instant::ZERO,
        }
    }

    /// From the first look to the end of a request that went well.
    fn request(&mut self, session: u64) {
        self.now = self.now + Duration::from_millis(20);
        let now = self.now;
        let is_open = matches!(self.breaker.would_admit(now), Admission::Refused { .. });
        let queues = [&self.target_queue, &self.provider_queue];
        let is_waited_for = queues.iter().any(|it| it.is_ahead_of(Priority::Normal));
        assert!(!is_open && !is_waited_for);
        let session = Session(session);
        let key = self.keys.choose(session, TOKENS, now).unwrap();
        self.budget.earn(&self.retry_limits);
        let is_probe = self.breaker.admit(now) == Admission::Probe;
        let is_key_probe = self.keys.take(key, TOKENS, now);
        assert!(self.keys.may_send(key, is_key_probe, now));
        self.keys.accept(key, is_key_probe, now);
        let limits = &self.breaker_limits;
        self.breaker
            .ended(is_probe, Verdict::Well, now, limits, &mut self.rng);
        self.keys
            .release(key, is_key_probe, TOKENS, Some(TOKENS + 1), now, now);
    }
}

fn policies(criterion: &mut Criterion) {
    let limited = KeyLimits {
        requests_per_minute: Some(1_000_000),
        tokens_per_minute: Some(1_000_000_000),
        concurrent: Some(100),
    };
    let mut group = criterion.benchmark_group("policies");
    for (name, limits) in [
        ("a request, four keys", KeyLimits::default()),
        ("a request, four keys with limits", limited),
    ] {
        let mut policies = Policies::new(&limits);
        let mut session = 0u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                session = session.wrapping_add(0x9E37_79B9_7F4A_7C15);
                policies.request(black_box(session));
            });
        });
    }
    for waiting in [0u64, 1_000] {
        let mut queue = FairQueue::new();
        for item in 0..waiting {
            queue.push(Standing::of(item % 50), TOKENS, item, item);
        }
        let mut item = waiting;
        group.bench_function(format!("to wait behind {waiting}"), |bencher| {
            bencher.iter(|| {
                item += 1;
                let standing = Standing::of(item % 50);
                let place = queue.push(standing, TOKENS, item, item);
                black_box(queue.first());
                black_box(queue.serve(place));
            });
        });
    }
    group.finish();
}

fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .without_plots()
}

criterion_group!(name = benches; config = config(); targets = policies);
criterion_main!(benches);
