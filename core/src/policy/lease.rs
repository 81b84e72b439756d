//! [`Lease`]: what one shard may use of a limit that all shards keep to together.
//!
//! Each shard begins with its share. Who needs more than it has asks the others, and they lend what
//! they do not use. One who has nothing to spare notes who asked, and what becomes free there is
//! for those before anybody of its own. What all shards hold, with what is on its way between them,
//! is the limit at all times: it is never exceeded, and none of it lies idle for long while
//! somebody waits for it.

use core::time::Duration;
use std::collections::VecDeque;

use super::balance;
use crate::base::Instant;

/// How long the others' answers are waited for: far more than they take. One who is at its end does
/// not answer.
pub const ANSWER_TIME: Duration = Duration::from_millis(100);
/// How long who has not answered is not asked again.
const SILENT_TIME: Duration = Duration::from_secs(1);

/// Which of how many shards one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Among {
    /// Which.
    pub own: u16,
    /// Of how many.
    pub shards: u16,
}

impl Default for Among {
    /// The only one.
    fn default() -> Among {
        Among { own: 0, shards: 1 }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Requests at once: one place each, free when it ends. It is handed to who asked for it.
    Places,
    /// Something within a minute, free when that is over: who asked asks again then.
    Minute,
}

/// A part of a limit. What is used of it is counted by whoever has it.
#[derive(Clone, Debug)]
pub struct Lease {
    kind: Kind,
    limit: u64,
    name: u64,
    among: Among,
    /// What each other shard has lent (above zero) or borrowed on the whole.
    accounts: Vec<(u16, i64)>,
    held: u64,
    /// Of that, what was borrowed for those who wait here, and is not used yet.
    for_own: u64,
    /// Places kept for requests here that find out whether there is one of another kind as well.
    kept: u64,
    /// The limit is lower than it was: what is borrowed goes back.
    is_lowered: bool,
    debts: VecDeque<Debt>,
    asked: Asked,
}

/// What another shard asked for in vain.
#[derive(Clone, Copy, Debug)]
struct Debt {
    to: u16,
    amount: u64,
    /// It is kept for that one until then.
    until: Instant,
}

/// What is known of what the others have left.
#[derive(Clone, Copy, Debug, Default)]
enum Asked {
    #[default]
    Nothing,
    /// They were asked, and so many have not answered.
    Asking {
        until: Instant,
        answers: u16,
        free_at: Option<Instant>,
        is_lent: bool,
    },
    /// They have nothing now. They have noted who asked, and will again by a time, if that is
    /// known.
    Exhausted {
        until: Instant,
        free_at: Option<Instant>,
    },
}

/// Why a shard cannot use as much as it needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Short {
    /// The others may have some to spare, and should be [asked](Lease::ask).
    Ask,
    /// They have been asked, and answer by this time.
    Asked(Instant),
    /// It is used up everywhere: until this time, or until something is freed.
    Until(Option<Instant>),
}

impl Lease {
    /// This shard's share of a limit that is called so among shards.
    pub fn new(kind: Kind, limit: u64, name: u64, among: Among) -> Lease {
        let mut lease = Lease {
            kind,
            limit: 0,
            name,
            among,
            accounts: Vec::new(),
            held: 0,
            for_own: 0,
            kept: 0,
            is_lowered: false,
            debts: VecDeque::new(),
            asked: Asked::Nothing,
        };
        lease.set_limit(limit);
        lease
    }

    /// The limit is this from now on, perhaps another, and those who waited look again. What was
    /// lent remains so; what others have left is not known.
    pub fn go_on(&mut self, limit: u64) {
        self.asked = Asked::Nothing;
        self.for_own = 0;
        self.kept = 0;
        self.set_limit(limit);
    }

    /// The limit is this, perhaps another.
    pub fn set_limit(&mut self, limit: u64) {
        // More than anybody uses, and safe to count with.
        let limit = limit.min(u64::from(u32::MAX) << 16);
        if limit != self.limit {
            self.is_lowered |= limit < self.limit;
            self.limit = limit;
            self.asked = Asked::Nothing;
            self.count();
        }
    }

    /// The whole of it, over all shards.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether something of it is lent or borrowed.
    pub fn is_in_use(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// Whether `need` more may be used beside what is `used`: all that there is, where more is
    /// needed. `free_at` says from when on the first number would fit in the second, by time alone.
    ///
    /// # Errors
    /// Why not.
    pub fn fits(
        &self,
        need: u64,
        used: u64,
        free_at: impl FnOnce(u64, u64) -> Option<Instant>,
        now: Instant,
    ) -> Result<(), Short> {
        let need = need.min(self.limit);
        let own = match self.kind {
            Kind::Places if self.debts.is_empty() || self.for_own + self.kept > 0 => self.held,
            Kind::Places => 0,
            Kind::Minute => self.held.saturating_sub(self.owed(now)),
        };
        if used.saturating_add(need) <= own {
            return Ok(());
        }
        let others = match self.asked {
            _ if self.among.shards < 2 => None,
            Asked::Nothing => return Err(Short::Ask),
            Asked::Asking { until, .. } if now < until => return Err(Short::Asked(until)),
            Asked::Asking { until, .. } if now >= until + SILENT_TIME => return Err(Short::Ask),
            Asked::Asking { until, free_at, .. } | Asked::Exhausted { until, free_at } => {
                // Places come unasked; of a minute's nobody may have been able to say when, as it
                // was on its way from one to another.
                let again = (self.kind == Kind::Minute).then(|| until + SILENT_TIME);
                Some((free_at, free_at.or(again)))
            }
        };
        let (others, again) = others.unwrap_or_default();
        if again.is_some_and(|at| now >= at) {
            return Err(Short::Ask);
        }
        let here = (need <= own).then(|| free_at(need, own)).flatten();
        let known = here.into_iter().chain(others).min();
        Err(Short::Until(known.or(again)))
    }

    /// Some of it is used from now on.
    pub fn used(&mut self, amount: u64) {
        self.for_own = self.for_own.saturating_sub(amount);
    }

    /// A place is kept for a request here that finds out whether there is one of another kind as
    /// well. [`Lease::let_go`] must follow.
    pub fn keep(&mut self) {
        self.kept += 1;
    }

    /// It is kept no longer.
    pub fn let_go(&mut self) {
        self.kept = self.kept.saturating_sub(1);
    }

    /// Nobody waits here: what was borrowed for those who did is for others again.
    pub fn nobody_waits(&mut self) {
        self.for_own = 0;
    }

    /// All others are asked for `need`; says for how much, and until when to wait for their
    /// answers.
    pub fn ask(&mut self, need: u64, now: Instant) -> (u64, Instant) {
        let until = now + ANSWER_TIME;
        self.asked = Asked::Asking {
            until,
            answers: self.among.shards.saturating_sub(1),
            free_at: None,
            is_lent: false,
        };
        (need.min(self.limit), until)
    }

    /// Another shard asks for `need`. Says what it gets now, and when the rest will be free, if
    /// `free_at` (as in [`Lease::fits`]) can say that. When two ask each other, the one with the
    /// lower number gets it.
    pub fn lend(
        &mut self,
        to: u16,
        need: u64,
        used: u64,
        free_at: impl FnOnce(u64, u64) -> Option<Instant>,
        now: Instant,
    ) -> (u64, Option<Instant>) {
        self.debts.retain(|debt| now <= debt.until);
        let place = self.debts.iter().position(|debt| debt.to == to);
        if let Some(place) = place {
            self.debts.remove(place);
        }
        // Of a minute's, those are before it who asked before.
        let place = place.filter(|_| self.kind == Kind::Minute);
        let place = place.unwrap_or(self.debts.len());
        let before = self.debts.iter().take(place).map(|debt| debt.amount);
        let before = before.fold(0, u64::saturating_add);
        let is_asking = matches!(self.asked, Asked::Asking { until, .. } if now < until);
        let is_taken = match self.kind {
            Kind::Places => !self.debts.is_empty(),
            Kind::Minute => is_asking && self.among.own < to,
        };
        let kept = match self.kind {
            Kind::Places => self.for_own + self.kept,
            Kind::Minute => before,
        };
        let taken = used.saturating_add(kept);
        let spare = match is_taken {
            true => 0,
            false => self.held.saturating_sub(taken),
        };
        let unclaimed = spare.saturating_sub(self.owed(now).saturating_sub(before));
        let lent = spare.min(need.max(unclaimed / 2));
        self.book(to, lent, false);
        let amount = need.saturating_sub(lent);
        if amount == 0 {
            return (lent, None);
        }
        let (amount, until, free_at) = match self.kind {
            Kind::Places => (amount, Instant::FAR, None),
            Kind::Minute => {
                // No more is promised than there is: what nobody can have would lie idle.
                let own = self.held.saturating_sub(kept);
                let amount = amount.min(own);
                if own == 0 {
                    // Those for whom it is kept may not come.
                    return (lent, self.debts.iter().map(|debt| debt.until).min());
                }
                let free_at = free_at(amount, own);
                if let Asked::Asking { until, .. } = self.asked
                    && is_taken
                    && free_at.is_some_and(|at| at <= until)
                {
                    // What is here is used here as soon as there is enough of it.
                    return (lent, Some(until));
                }
                let until = free_at.unwrap_or(now) + ANSWER_TIME;
                (amount, until, free_at)
            }
        };
        self.debts.insert(place, Debt { to, amount, until });
        (lent, free_at)
    }

    /// A place that is free now is handed to one who asked for it. Of a limit that was lowered all
    /// that is borrowed goes back, used or not: those who lent it have lent more than is left.
    pub fn pay(&mut self, used: u64) -> Option<(u16, u64)> {
        if self.is_lowered {
            if let Some(&(to, lent)) = self.accounts.iter().find(|(_, lent)| *lent > 0) {
                let lent = lent.unsigned_abs();
                self.book(to, lent, false);
                return Some((to, lent));
            }
            self.is_lowered = false;
        }
        if self.kind != Kind::Places {
            return None;
        }
        let kept = self.for_own + self.kept;
        let spare = self.held.saturating_sub(used.saturating_add(kept));
        let debt = self.debts.front_mut()?;
        let (to, paid) = (debt.to, spare.min(debt.amount));
        if paid == 0 {
            return None;
        }
        debt.amount -= paid;
        if debt.amount == 0 {
            self.debts.pop_front();
        }
        self.book(to, paid, false);
        Some((to, paid))
    }

    /// Another shard lends `amount`, perhaps nothing; where that is its answer to what it was
    /// asked, with when it will have more. Says whether those who wait should look again.
    pub fn gain(&mut self, from: u16, amount: u64, answer: Option<Option<Instant>>) -> bool {
        let is_gain = amount > 0;
        self.book(from, amount, true);
        if self.kind == Kind::Places {
            self.for_own = self.for_own.saturating_add(amount);
        }
        match (&mut self.asked, answer) {
            (
                Asked::Asking {
                    until,
                    answers,
                    free_at,
                    is_lent,
                },
                answer,
            ) => {
                *is_lent |= is_gain;
                if let Some(at) = answer {
                    *answers = answers.saturating_sub(1);
                    *free_at = free_at.iter().copied().chain(at).min();
                }
                if *answers > 0 {
                    return is_gain;
                }
                let (until, free_at) = (*until, *free_at);
                self.asked = match *is_lent {
                    true => Asked::Nothing,
                    false => Asked::Exhausted { until, free_at },
                };
                true
            }
            (asked, _) if is_gain => {
                *asked = Asked::Nothing;
                true
            }
            _ => false,
        }
    }

    /// What is given back to one who has lent it, of what is not used.
    pub fn give_back(&mut self, used: u64) -> Option<(u16, u64)> {
        let spare = self.held.saturating_sub(used);
        let (to, lent) = *self.accounts.iter().find(|(_, lent)| *lent > 0)?;
        let given = spare.min(lent.unsigned_abs());
        self.book(to, given, false);
        (given > 0).then_some((to, given))
    }

    /// One that has lent as much here as this shard has lent another can as well get it back from
    /// that one: else shards that owe each other in a circle, and hold nothing, would remember it
    /// for ever. Says which two settle it, and how much; both must [hear of it](Lease::settled).
    /// The one of the three with the lowest number does so, for of several who did at once each
    /// would owe the others as much again.
    pub fn settle(&mut self) -> Option<(u16, u16, u64)> {
        let own = self.among.own;
        let accounts = || self.accounts.iter().filter(|(shard, _)| *shard > own);
        let &(lender, lent) = accounts().find(|(_, account)| *account > 0)?;
        let &(borrower, borrowed) = accounts().find(|(_, account)| *account < 0)?;
        let amount = lent.unsigned_abs().min(borrowed.unsigned_abs());
        self.book(lender, amount, false);
        self.book(borrower, amount, true);
        Some((lender, borrower, amount))
    }

    /// Another shard has settled so much of its account here by one of `with` (above zero: what was
    /// borrowed from it was that one's).
    pub fn settled(&mut self, by: u16, with: u16, amount: i64) {
        let size = amount.unsigned_abs();
        self.book(by, size, amount < 0);
        self.book(with, size, amount > 0);
    }

    /// What is kept for others.
    fn owed(&self, now: Instant) -> u64 {
        let debts = self.debts.iter().filter(|debt| now <= debt.until);
        debts.map(|debt| debt.amount).fold(0, u64::saturating_add)
    }

    fn book(&mut self, with: u16, amount: u64, is_gain: bool) {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        let amount = if is_gain { amount } else { -amount };
        match self.accounts.iter_mut().find(|(shard, _)| *shard == with) {
            Some((_, account)) => *account = account.saturating_add(amount),
            None => self.accounts.push((with, amount)),
        }
        self.accounts.retain(|(_, account)| *account != 0);
        self.count();
    }

    fn count(&mut self) {
        let accounts = self.accounts.iter().map(|(_, account)| *account);
        let accounts = accounts.fold(0, i64::saturating_add);
        let held = i64::try_from(self.share()).unwrap_or(i64::MAX);
        // More than the limit is only where others have not heard yet that it is lower.
        let held = u64::try_from(held.saturating_add(accounts)).unwrap_or(0);
        self.held = held.min(self.limit);
    }

    /// What cannot be shared out evenly goes to some of the shards, for each limit to others.
    fn share(&self) -> u64 {
        let shards = u64::from(self.among.shards.max(1));
        let turn = (u64::from(self.among.own) + self.name % shards) % shards;
        self.limit / shards + u64::from(turn < self.limit % shards)
    }
}

/// What a limit is called among shards: by the name of what it limits.
pub fn name(of: &str) -> u64 {
    balance::hash(of.as_bytes())
}

#[cfg(test)]
mod minutes;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Seed};

    const NEVER: fn(u64, u64) -> Option<Instant> = |_, _| None;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn leases(kind: Kind, limit: u64, name: u64, shards: u16) -> Vec<Lease> {
        let among = |own| Among { own, shards };
        let lease = |own| Lease::new(kind, limit, name, among(own));
        (0..shards).map(lease).collect()
    }

    #[test]
    fn shards_that_owe_each_other_in_a_circle_are_quits() {
        for shards in 3..6u16 {
            let mut leases = leases(Kind::Places, 1, 0, shards);
            let held: Vec<u64> = leases.iter().map(|it| it.held).collect();
            // Each has lent one to the next, and the last one to the first.
            for from in 0..shards {
                let to = (from + 1) % shards;
                leases[usize::from(from)].book(to, 1, false);
                leases[usize::from(to)].book(from, 1, true);
            }
            let mut letters = VecDeque::new();
            for _ in 0..shards {
                // All at once, before any of them hears of the others.
                for (own, lease) in (0..).zip(&mut leases) {
                    while let Some((lender, borrower, amount)) = lease.settle() {
                        let amount = i64::try_from(amount).unwrap();
                        letters.push_back((own, lender, borrower, -amount));
                        letters.push_back((own, borrower, lender, amount));
                    }
                }
                for (by, to, with, amount) in letters.drain(..) {
                    leases[usize::from(to)].settled(by, with, amount);
                }
            }
            assert!(leases.iter().all(|it| !it.is_in_use()), "{leases:?}");
            assert!(leases.iter().map(|it| it.held).eq(held));
        }
    }

    #[test]
    fn shares_are_the_limit_together() {
        for limit in [0, 1, 2, 3, 40, 41, u64::MAX] {
            for shards in 1..7 {
                for name in 0..7 {
                    let shares = leases(Kind::Places, limit, name, shards);
                    let held: u64 = shares.iter().map(|it| it.held).sum();
                    assert_eq!(held, shares[0].limit);
                    let most = shares.iter().map(|it| it.held).max().unwrap();
                    assert!(shares.iter().all(|it| it.held + 1 >= most));
                }
            }
        }
    }

    #[test]
    fn who_has_nothing_asks_and_gets_what_another_does_not_use() {
        let mut leases = leases(Kind::Places, 1, 0, 2);
        let [one, other] = &mut leases[..] else {
            panic!("two")
        };
        assert_eq!(one.fits(1, 0, NEVER, at(0)), Ok(()));
        assert_eq!(other.fits(1, 0, NEVER, at(0)), Err(Short::Ask));
        assert_eq!(other.ask(1, at(0)), (1, at(100)));
        assert_eq!(other.fits(1, 0, NEVER, at(99)), Err(Short::Asked(at(100))));
        // It is used now; it comes when it is free, before anybody's there.
        assert_eq!(one.lend(1, 1, 1, NEVER, at(0)), (0, None));
        assert!(other.gain(0, 0, Some(None)));
        assert_eq!(other.fits(1, 0, NEVER, at(1)), Err(Short::Until(None)));
        assert_eq!(one.pay(1), None);
        assert_eq!(one.fits(1, 0, NEVER, at(1)), Err(Short::Ask));
        assert_eq!(one.pay(0), Some((1, 1)));
        assert_eq!(one.pay(0), None);
        assert!(other.gain(0, 1, None));
        assert_eq!(other.fits(1, 0, NEVER, at(1)), Ok(()));
        assert_eq!(other.give_back(1), None);
        assert_eq!(other.give_back(0), Some((0, 1)));
        assert!(one.gain(1, 1, None));
        assert!(!one.is_in_use() && !other.is_in_use());
    }

    #[test]
    fn what_was_borrowed_for_those_who_wait_is_anybodys_under_another_config() {
        let mut leases = leases(Kind::Places, 8, 0, 2);
        let [one, other] = &mut leases[..] else {
            panic!("two")
        };
        one.ask(1, at(0));
        let (lent, _) = other.lend(0, 1, 0, NEVER, at(0));
        one.gain(1, lent, Some(None));
        one.used(1);
        one.go_on(8);
        assert_eq!(one.lend(1, 8, 5, NEVER, at(0)), (1, None));
    }

    #[test]
    fn one_who_does_not_answer_is_not_waited_for() {
        let mut lease = leases(Kind::Minute, 0, 0, 3).remove(0);
        lease.ask(1, at(0));
        assert!(!lease.gain(1, 0, Some(Some(at(5_000)))));
        lease.set_limit(4);
        lease.ask(9, at(0));
        assert!(!lease.gain(1, 0, Some(Some(at(5_000)))));
        let in_vain = Err(Short::Until(Some(at(5_000))));
        assert_eq!(lease.fits(3, 0, NEVER, at(100)), in_vain);
        let own = |_: u64, _: u64| Some(at(3_000));
        assert_eq!(
            lease.fits(1, 2, own, at(100)),
            Err(Short::Until(Some(at(3_000))))
        );
        assert_eq!(lease.fits(3, 0, NEVER, at(5_000)), Err(Short::Ask));
        assert_eq!(lease.fits(1, 0, NEVER, at(5_000)), Ok(()));
    }

    #[test]
    fn two_who_ask_each_other_do_not_swap() {
        let mut leases = leases(Kind::Minute, 40, 0, 2);
        let [one, other] = &mut leases[..] else {
            panic!("two")
        };
        one.ask(30, at(0));
        other.ask(30, at(0));
        let free = |_: u64, _: u64| Some(at(60_000));
        let (nothing, until) = one.lend(1, 30, 0, free, at(0));
        assert_eq!((nothing, until), (0, Some(at(60_000))));
        assert_eq!(other.lend(0, 30, 0, free, at(0)).0, 20);
        assert!(one.gain(1, 20, Some(None)));
        assert!(other.gain(0, 0, Some(until)));
        assert_eq!(one.held + other.held, 40);
        // What was promised is kept for a while, and then not.
        assert_eq!(one.fits(21, 0, free, at(60_100)), Err(Short::Ask));
        assert_eq!(one.fits(40, 0, free, at(60_101)), Ok(()));
    }

    /// Shards that lend each other places, with what is on its way between them.
    struct Shards {
        rng: Rng,
        limit: u64,
        leases: Vec<Lease>,
        used: Vec<u64>,
        waiting: Vec<u64>,
        /// In order for each pair: from, to, and what.
        post: Vec<(u16, u16, Letter)>,
        served: u64,
    }

    #[derive(Clone, Copy)]
    enum Letter {
        Ask(u64),
        Lend(u64, bool),
    }

    impl Shards {
        fn new(seed: u64) -> Shards {
            let mut rng = Rng::new(Seed(seed));
            let shards = 1 + u16::try_from(rng.below(5)).unwrap();
            let limit = 1 + rng.below(8);
            Shards {
                leases: leases(Kind::Places, limit, rng.below(9), shards),
                rng,
                limit,
                used: vec![0; usize::from(shards)],
                waiting: vec![0; usize::from(shards)],
                post: Vec::new(),
                served: 0,
            }
        }

        fn any(&mut self, count: usize) -> usize {
            usize::try_from(self.rng.below(count as u64)).unwrap()
        }

        /// Somebody comes or goes, or a letter arrives.
        fn step(&mut self, now: Instant) {
            let own = self.any(self.leases.len());
            match self.rng.below(3) {
                0 if self.waiting[own] < 3 => self.waiting[own] += 1,
                1 if self.used[own] > 0 => {
                    self.used[own] -= 1;
                    self.served += 1;
                }
                _ if !self.post.is_empty() => {
                    let any = self.any(self.post.len());
                    let pair = |it: &(u16, u16, Letter)| (it.0, it.1);
                    let wanted = pair(&self.post[any]);
                    let first = self.post.iter().position(|it| pair(it) == wanted);
                    let (from, to, letter) = self.post.remove(first.unwrap());
                    self.deliver(from, to, letter, now);
                }
                _ => {}
            }
            for own in 0..self.leases.len() {
                self.serve(own, now);
            }
        }

        fn deliver(&mut self, from: u16, to: u16, letter: Letter, now: Instant) {
            let used = self.used[usize::from(to)];
            let lease = &mut self.leases[usize::from(to)];
            match letter {
                Letter::Ask(need) => {
                    let (lent, _) = lease.lend(from, need, used, NEVER, now);
                    self.post.push((to, from, Letter::Lend(lent, true)));
                }
                Letter::Lend(amount, is_answer) => {
                    lease.gain(from, amount, is_answer.then_some(None));
                }
            }
        }

        /// What is free goes to those who wait.
        fn serve(&mut self, own: usize, now: Instant) {
            let (used, waiting) = (&mut self.used[own], &mut self.waiting[own]);
            let shards = u16::try_from(self.leases.len()).unwrap();
            let number = u16::try_from(own).unwrap();
            let lease = &mut self.leases[own];
            if *waiting == 0 {
                lease.nobody_waits();
            }
            while let Some((to, amount)) = lease.pay(*used) {
                self.post.push((number, to, Letter::Lend(amount, false)));
            }
            if *waiting == 0 {
                return;
            }
            match lease.fits(1, *used, NEVER, now) {
                Ok(()) => {
                    *waiting -= 1;
                    *used += 1;
                    lease.used(1);
                }
                Err(Short::Ask) => {
                    let (need, _) = lease.ask(1, now);
                    let others = (0..shards).filter(|it| *it != number);
                    self.post
                        .extend(others.map(|to| (number, to, Letter::Ask(need))));
                }
                Err(Short::Asked(_) | Short::Until(_)) => {}
            }
        }

        /// What all have, and what is on its way.
        fn all(&self) -> u64 {
            let lent = |it: &(u16, u16, Letter)| match it.2 {
                Letter::Lend(amount, _) => amount,
                Letter::Ask(_) => 0,
            };
            let held = self.leases.iter().map(|it| it.held);
            held.chain(self.post.iter().map(lent)).sum()
        }
    }

    #[test]
    fn whatever_is_asked_in_whatever_order_the_limit_holds_and_nobody_starves() {
        for seed in 0..300 {
            let mut shards = Shards::new(seed);
            let mut steps = 0u64;
            while shards.served < 300 {
                steps += 1;
                assert!(steps < 300_000, "seed {seed}: somebody waits for ever");
                shards.step(Instant::from_nanos(steps));
                assert!(
                    shards.used.iter().sum::<u64>() <= shards.limit,
                    "seed {seed}"
                );
                let all = shards.all();
                assert_eq!(all, shards.limit, "seed {seed}: neither more nor less");
            }
        }
    }
}
