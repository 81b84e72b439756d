//! What shards use within a minute, at random: the limit holds over all of them, and everybody gets
//! something of it.

use super::*;
use crate::base::{Rng, Seed};
use crate::policy::rate::RateWindow;

#[derive(Clone, Copy)]
enum Letter {
    Ask(u64),
    /// How much, and when there will be more.
    Answer(u64, Option<Instant>),
}

/// Shards that lend each other what they use within a minute.
struct Minutes {
    rng: Rng,
    limit: u64,
    now: Instant,
    leases: Vec<Lease>,
    windows: Vec<RateWindow>,
    /// What the first one in line needs, since when, and when it looks again by itself.
    waiting: Vec<Option<(u64, Instant, Option<Instant>)>>,
    post: Vec<(u16, u16, Letter)>,
    /// What was used when.
    uses: VecDeque<(Instant, u64)>,
    served: u64,
}

impl Minutes {
    fn new(seed: u64) -> Minutes {
        let mut rng = Rng::new(Seed(seed));
        let shards = 1 + u16::try_from(rng.below(5)).unwrap();
        let limit = 1 + rng.below(50);
        let name = rng.below(9);
        let lease = |own| Lease::new(Kind::Minute, limit, name, Among { own, shards });
        Minutes {
            leases: (0..shards).map(lease).collect(),
            rng,
            limit,
            now: Instant::from_nanos(100_000_000_000),
            windows: vec![RateWindow::default(); usize::from(shards)],
            waiting: vec![None; usize::from(shards)],
            post: Vec::new(),
            uses: VecDeque::new(),
            served: 0,
        }
    }

    /// Somebody comes, a letter arrives, or time passes.
    fn step(&mut self) {
        let own = usize::try_from(self.rng.below(self.leases.len() as u64)).unwrap();
        match self.rng.below(8) {
            0 if self.waiting[own].is_none() => {
                let most = [2, self.limit + 3][usize::from(self.rng.below(4) == 0)];
                let need = 1 + self.rng.below(most);
                self.waiting[own] = Some((need, self.now, None));
                self.look(own);
            }
            1 => self.pass(),
            _ if !self.post.is_empty() => {
                let any = usize::try_from(self.rng.below(self.post.len() as u64)).unwrap();
                let pair = (self.post[any].0, self.post[any].1);
                let first = self.post.iter().position(|it| (it.0, it.1) == pair);
                let (from, to, letter) = self.post.remove(first.unwrap());
                self.deliver(from, to, letter);
            }
            _ => {}
        }
    }

    /// Until somebody looks again, where no letter is on its way; else for a moment.
    fn pass(&mut self) {
        let times = self.waiting.iter().flatten().filter_map(|it| it.2);
        let next = times.min().filter(|_| self.post.is_empty());
        let time = match self.post.is_empty() {
            true => Duration::from_millis(1 + self.rng.below(2_000)),
            false => Duration::from_micros(50),
        };
        self.now = next.unwrap_or(self.now + time).max(self.now);
        for own in 0..self.leases.len() {
            let is_time =
                |it: (u64, Instant, Option<Instant>)| it.2.is_some_and(|at| at <= self.now);
            if self.waiting[own].is_some_and(is_time) {
                self.look(own);
            }
        }
    }

    fn look(&mut self, own: usize) {
        let Some((need, since, _)) = self.waiting[own] else {
            return;
        };
        let now = self.now;
        let (lease, window) = (&mut self.leases[own], &mut self.windows[own]);
        let used = window.sum(now);
        let mut probe = window.clone();
        let free_at = |need, held| Some(probe.fits_at(need, held, now));
        let number = u16::try_from(own).unwrap();
        let again = match lease.fits(need, used, free_at, now) {
            Ok(()) => {
                let need = need.min(self.limit);
                window.add(need, now);
                self.uses.push_back((now, need));
                self.waiting[own] = None;
                self.served += 1;
                return;
            }
            Err(Short::Ask) => {
                let (need, until) = lease.ask(need, now);
                let others = 0..u16::try_from(self.leases.len()).unwrap();
                let others = others.filter(|it| *it != number);
                self.post
                    .extend(others.map(|to| (number, to, Letter::Ask(need))));
                Some(until)
            }
            Err(Short::Asked(until)) => Some(until),
            Err(Short::Until(until)) => until,
        };
        assert!(again.is_none_or(|at| at > now), "it would not wait");
        self.waiting[own] = Some((need, since, again));
    }

    fn deliver(&mut self, from: u16, to: u16, letter: Letter) {
        let (own, now) = (usize::from(to), self.now);
        let (lease, window) = (&mut self.leases[own], &mut self.windows[own]);
        match letter {
            Letter::Ask(need) => {
                let used = window.sum(now);
                let mut probe = window.clone();
                let free_at = |need, held| Some(probe.fits_at(need, held, now));
                let (lent, until) = lease.lend(from, need, used, free_at, now);
                self.post.push((to, from, Letter::Answer(lent, until)));
            }
            Letter::Answer(amount, until) => {
                if lease.gain(from, amount, Some(until)) {
                    self.look(own);
                }
            }
        }
    }

    fn check(&mut self, seed: u64) {
        let minute = Duration::from_secs(60);
        while self
            .uses
            .front()
            .is_some_and(|(at, _)| *at + minute <= self.now)
        {
            self.uses.pop_front();
        }
        let used: u64 = self.uses.iter().map(|(_, used)| used).sum();
        assert!(used <= self.limit, "seed {seed}: {used} of {}", self.limit);
        let lent = |it: &(u16, u16, Letter)| match it.2 {
            Letter::Answer(amount, _) => amount,
            Letter::Ask(_) => 0,
        };
        let held: u64 = self.leases.iter().map(|it| it.held).sum();
        let on_its_way: u64 = self.post.iter().map(lent).sum();
        assert_eq!(held + on_its_way, self.limit, "seed {seed}");
        let share = (self.limit / self.leases.len() as u64).max(1);
        let waiting = self.waiting.iter().flatten();
        for (need, since, _) in waiting.filter(|it| it.0 <= share) {
            // Others may have had all of it for many minutes.
            let longest = Duration::from_secs(65 * 30);
            let waited = self.now.since(*since);
            assert!(waited < longest, "seed {seed}: {need} is waited for");
        }
    }
}

#[test]
fn no_minute_holds_more_than_the_limit_over_all_and_nobody_starves() {
    for seed in 0..300 {
        let mut shards = Minutes::new(seed);
        let mut steps = 0u64;
        while shards.served < 100 {
            steps += 1;
            assert!(steps < 150_000, "seed {seed}: much is said for nothing");
            shards.step();
            shards.check(seed);
        }
    }
}
