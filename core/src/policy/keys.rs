//! [`KeyRing`]: the keys of one provider: which of them may be used now, and which for whom.

use core::time::Duration;

use super::balance::{self, Session};
use super::lease::{Among, Kind, Lease, Short};
use super::rate::RateWindow;
use crate::base::Instant;
use crate::ir::Class;

/// What a provider allows each key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyLimits {
    /// Requests within a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens within a minute, prompts and answers together.
    pub tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u32>,
}

/// One of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyLimit {
    /// [`KeyLimits::requests_per_minute`].
    Requests,
    /// [`KeyLimits::tokens_per_minute`].
    Tokens,
    /// [`KeyLimits::concurrent`].
    Concurrent,
}

/// For how long a key is left alone that its provider refused; doubled each time that the request
/// which finds out is refused too. Short at first: the refusal may have been a mishap.
const REFUSED_TIME: Duration = Duration::from_secs(10);
/// It does not grow beyond this. Long enough to do no harm, short enough that an account which was
/// paid works again without a restart.
const REFUSED_TIME_MAX: Duration = Duration::from_secs(600);
/// For how long a key is left alone that has met a limit, where the provider does not say; doubled
/// each time in a row.
const COOLING_TIME: Duration = Duration::from_secs(1);
/// The same, where it says that it can be asked at once: doubled, too, each time that this turns
/// out wrong.
const COOLING_TIME_MIN: Duration = Duration::from_millis(25);
/// Neither grows beyond this.
const COOLING_TIME_MAX: Duration = Duration::from_secs(5);

/// One key.
#[derive(Clone, Debug, Default)]
struct Key {
    cooling_until: Instant,
    /// The same, as somebody else has learnt, who is to find out first whether it works again.
    heard_until: Instant,
    /// Why the provider refused it, if it did, and until when it is left alone for that.
    refused: Option<(Class, Instant)>,
    /// For how long it was left alone at its last refusal, if none was accepted since.
    refused_for: Duration,
    /// It met a limit or was refused, and nothing has been accepted since: one request at a time
    /// finds out.
    is_suspect: bool,
    /// Since when it is; what was sent before tells nothing.
    suspect_since: Instant,
    is_probing: bool,
    /// Limits met in a row of which the provider did not say how long they hold.
    strikes: u32,
    in_flight: u32,
    requests: RateWindow,
    tokens: RateWindow,
    leases: Leases,
}

/// What this shard may use of the limits of a key.
#[derive(Clone, Debug, Default)]
struct Leases {
    requests: Option<Lease>,
    tokens: Option<Lease>,
    concurrent: Option<Lease>,
}

/// What other shards are to be asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyAsk {
    /// Of which key, by its number.
    pub key: usize,
    /// Of which of its limits.
    pub limit: KeyLimit,
    /// How much.
    pub amount: u64,
}

/// Why a key cannot be used.
enum Lack {
    Key(NoKey),
    /// There is too little left of a limit here, but perhaps elsewhere.
    Share(KeyLimit, u64),
    /// That is being found out until then.
    Asked(Instant),
}

/// The keys of one provider.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<Key>,
}

/// Why no key can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoKey {
    /// Each is refused by the provider, for this reason the last of them.
    Refused(Class),
    /// The first will be usable at this time.
    Until(Instant),
    /// The first will be usable when an answer ends; or at this time, if no answer does before.
    Busy(Option<Instant>),
    /// There may be some left of a limit at another shard, which answers by this time; it is to be
    /// asked now, if that is not done.
    Elsewhere(Instant, Option<KeyAsk>),
}

/// How a key fares, for dashboards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyHealth {
    /// Why its provider refused it.
    pub refused: Option<Class>,
    /// Until when it is left alone.
    pub cooling_until: Instant,
    /// Requests that use it.
    pub in_flight: u32,
}

impl KeyHealth {
    /// Why a key is left alone, in a word.
    pub const fn why(&self) -> &'static str {
        match self.refused {
            Some(class @ (Class::Authentication | Class::Billing | Class::Permission)) => {
                class.name()
            }
            Some(_) => "refused",
            None => "limit",
        }
    }
}

impl KeyRing {
    /// As many keys, all well, without limits.
    pub fn new(count: usize) -> KeyRing {
        KeyRing {
            keys: vec![Key::default(); count],
        }
    }

    /// Keys that are called so among shards, and have these limits. Each goes on as it was in
    /// another ring, where it is known from there. What was sent before is not counted as in
    /// flight.
    pub fn following<'r>(
        keys: impl Iterator<Item = (u64, Option<(&'r KeyRing, usize)>)>,
        limits: &KeyLimits,
        among: Among,
    ) -> KeyRing {
        let key = |(name, known): (u64, Option<(&'r KeyRing, usize)>)| {
            let known = known.and_then(|(ring, index)| ring.keys.get(index));
            let mut key = Key {
                in_flight: 0,
                is_probing: false,
                ..known.cloned().unwrap_or_default()
            };
            key.leases.set(limits, name, among);
            key
        };
        KeyRing {
            keys: keys.map(key).collect(),
        }
    }

    /// The key for a request of `session`: always the same one while that can be used, so that the
    /// provider's prompt cache stays warm; sessions spread over all.
    ///
    /// # Errors
    /// When none can be used.
    pub fn choose(&mut self, session: Session, tokens: u64, now: Instant) -> Result<usize, NoKey> {
        let mut best: Option<(u64, usize)> = None;
        let mut to_ask: Option<(u64, KeyAsk)> = None;
        let mut asked = None;
        let mut none = NoKey::Refused(Class::Authentication);
        for (index, key) in self.keys.iter_mut().enumerate() {
            let lack = key.usable(tokens, now);
            let rank = || balance::rank(session, index as u64, 1);
            match lack {
                Ok(()) => {
                    let rank = rank();
                    if best.is_none_or(|(best, _)| rank > best) {
                        best = Some((rank, index));
                    }
                }
                Err(Lack::Key(why)) => none = sooner(none, why),
                Err(Lack::Asked(until)) => asked = asked.max(Some(until)),
                Err(Lack::Share(limit, amount)) => {
                    let rank = rank();
                    if to_ask.is_none_or(|(best, _)| rank > best) {
                        let key = index;
                        to_ask = Some((rank, KeyAsk { key, limit, amount }));
                    }
                }
            }
        }
        if let Some((_, index)) = best {
            return Ok(index);
        }
        // One key after the other: the session's own may be enough.
        Err(match (asked, to_ask) {
            (Some(until), _) => NoKey::Elsewhere(until, None),
            (None, Some((_, ask))) => match self.lease(ask.key, ask.limit) {
                Some(lease) => {
                    let (amount, until) = lease.ask(ask.amount, now);
                    NoKey::Elsewhere(until, Some(KeyAsk { amount, ..ask }))
                }
                None => none,
            },
            (None, None) => none,
        })
    }

    /// Another shard asks for some of a key's limit. Says what it gets, and when there will be
    /// more, if that is known; what it does not get may be [paid](KeyRing::pay) later. `None` if
    /// the key has no such limit here.
    pub fn lend(&mut self, ask: KeyAsk, to: u16, now: Instant) -> Option<(u64, Option<Instant>)> {
        self.keys.get_mut(ask.key)?.lend(ask, to, now)
    }

    /// Another shard lends some of a key's limit, in answer or not (see [`Lease::gain`]). Says
    /// whether those who wait should look again.
    pub fn gain(&mut self, ask: KeyAsk, from: u16, answer: Option<Option<Instant>>) -> bool {
        let lease = self.lease(ask.key, ask.limit);
        lease.is_some_and(|lease| lease.gain(from, ask.amount, answer))
    }

    /// A place with the key that is free goes to another shard that waits for one, or what was
    /// borrowed of a limit that was lowered goes back: to which, and how much.
    pub fn pay(&mut self, index: usize) -> Option<(u16, KeyAsk)> {
        let used = u64::from(self.keys.get(index)?.in_flight);
        let limits = [KeyLimit::Concurrent, KeyLimit::Requests, KeyLimit::Tokens];
        limits.into_iter().find_map(|limit| {
            let (to, amount) = self.lease(index, limit)?.pay(used)?;
            let key = index;
            Some((to, KeyAsk { key, limit, amount }))
        })
    }

    /// A place with the key is kept for somebody here (see [`Lease::keep`]).
    pub fn keep(&mut self, index: usize) {
        if let Some(lease) = self.lease(index, KeyLimit::Concurrent) {
            lease.keep();
        }
    }

    /// It is kept no longer.
    pub fn let_go(&mut self, index: usize) {
        if let Some(lease) = self.lease(index, KeyLimit::Concurrent) {
            lease.let_go();
        }
    }

    /// Nobody waits for a key here.
    pub fn nobody_waits(&mut self) {
        let leases = self.keys.iter_mut();
        for lease in leases.filter_map(|key| key.leases.concurrent.as_mut()) {
            lease.nobody_waits();
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn lease(&mut self, index: usize, limit: KeyLimit) -> Option<&mut Lease> {
        let leases = &mut self.keys.get_mut(index)?.leases;
        match limit {
            KeyLimit::Requests => leases.requests.as_mut(),
            KeyLimit::Tokens => leases.tokens.as_mut(),
            KeyLimit::Concurrent => leases.concurrent.as_mut(),
        }
    }

    /// A request of about `tokens` goes out with the key. Says whether it is the one that finds out
    /// whether the key works again. [`KeyRing::release`] must follow.
    pub fn take(&mut self, index: usize, tokens: u64, now: Instant) -> bool {
        let Some(key) = self.keys.get_mut(index) else {
            return false;
        };
        key.in_flight += 1;
        if let Some(lease) = &mut key.leases.concurrent {
            lease.used(1);
        }
        key.requests.add(1, now);
        key.tokens.add(tokens, now);
        let is_probe = key.is_suspect && !key.is_probing;
        key.is_probing |= is_probe;
        is_probe
    }

    /// A request that took the key in another ring goes on in this one.
    pub fn go_on(&mut self, index: usize, is_probe: bool) {
        if let Some(key) = self.keys.get_mut(index) {
            key.in_flight += 1;
            key.is_probing |= is_probe && key.is_suspect;
        }
    }

    /// Whether a request may still be sent that has taken the key, as its probe or not: by what was
    /// learnt of the key since.
    pub fn may_send(&self, index: usize, is_probe: bool, now: Instant) -> bool {
        self.keys.get(index).is_none_or(|key| {
            let waits_for_probe = key.is_suspect && !is_probe;
            now >= key.left_alone_until() && !waits_for_probe
        })
    }

    /// The request that took the key at `taken` ended. Of the tokens that were expected, `used`
    /// were really used, if that is known.
    pub fn release(
        &mut self,
        index: usize,
        is_probe: bool,
        expected: u64,
        used: Option<u64>,
        taken: Instant,
        now: Instant,
    ) {
        let Some(key) = self.keys.get_mut(index) else {
            return;
        };
        key.in_flight = key.in_flight.saturating_sub(1);
        key.is_probing &= !is_probe;
        let used = used.unwrap_or(expected);
        if used > expected {
            key.tokens.add(used - expected, now);
        } else {
            key.tokens.take_back(expected - used, taken, now);
        }
    }

    /// What took the key at `taken` was not sent, and counts for no limit. [`KeyRing::release`]
    /// follows all the same.
    pub fn give_back(&mut self, index: usize, tokens: u64, taken: Instant, now: Instant) {
        if let Some(key) = self.keys.get_mut(index) {
            key.requests.take_back(1, taken, now);
            key.tokens.take_back(tokens, taken, now);
        }
    }

    /// The key met a limit: it is left alone as long as the provider asks, or for a time that
    /// grows; never shorter than it was to be left alone already. Says until when.
    pub fn cool(
        &mut self,
        index: usize,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let key = self.keys.get_mut(index)?;
        let least = match retry_after {
            // It went out before the key cooled, and tells nothing of how long it must.
            _ if now < key.cooling_until => Duration::ZERO,
            None => COOLING_TIME,
            Some(wait) if wait.is_zero() || key.is_suspect => COOLING_TIME_MIN,
            Some(_) => Duration::ZERO,
        };
        let factor = 1u32.checked_shl(key.strikes).unwrap_or(u32::MAX);
        let least = least.saturating_mul(factor).min(COOLING_TIME_MAX);
        let asked = retry_after.unwrap_or_default();
        key.strikes = key.strikes.saturating_add(u32::from(asked < least));
        let wait = asked.max(least);
        key.cooling_until = key.cooling_until.max(now + wait);
        key.is_suspect = true;
        key.suspect_since = now;
        Some(key.cooling_until)
    }

    /// The provider refused the key itself (401, 402, 403): it is taken out, for a time that grows.
    /// Says until when.
    pub fn refuse(&mut self, index: usize, class: Class, now: Instant) -> Option<Instant> {
        let key = self.keys.get_mut(index)?;
        let until = match key.refused {
            // It went out before the key was refused, and tells nothing new.
            Some((_, before)) if now < before => before,
            _ => {
                let longer = key.refused_for.saturating_mul(2);
                key.refused_for = longer.clamp(REFUSED_TIME, REFUSED_TIME_MAX);
                now + key.refused_for
            }
        };
        key.refused = Some((class, until));
        key.is_suspect = true;
        key.suspect_since = now;
        Some(until)
    }

    /// The key is to be left alone, as somebody else has learnt.
    pub fn heard(&mut self, index: usize, until: Instant, refused: Option<Class>, now: Instant) {
        let Some(key) = self.keys.get_mut(index) else {
            return;
        };
        key.is_suspect = true;
        key.suspect_since = now;
        match refused {
            Some(class) => {
                // News of several shards come in any order.
                let before = key.refused.map_or(Instant::ZERO, |(_, before)| before);
                let time = until.since(now).min(REFUSED_TIME_MAX);
                key.refused_for = key.refused_for.max(time);
                key.refused = Some((class, until.max(before)));
            }
            None => key.heard_until = key.heard_until.max(until),
        }
    }

    /// Somebody else's request, which went out at `sent`, was accepted with the key. Says whether
    /// that was in doubt. How long a limit holds that was met here remains.
    pub fn heard_works(&mut self, index: usize, sent: Instant) -> bool {
        let is_news = self.accept(index, false, sent);
        if let Some(key) = self.keys.get_mut(index).filter(|_| is_news) {
            key.heard_until = Instant::ZERO;
        }
        is_news
    }

    /// The provider accepted a request with the key that went out at `sent`. If that was the one
    /// that finds out, it has, and counts as such no longer. Says whether the key was in doubt, and
    /// works.
    pub fn accept(&mut self, index: usize, is_probe: bool, sent: Instant) -> bool {
        let Some(key) = self.keys.get_mut(index) else {
            return false;
        };
        key.is_probing &= !is_probe;
        // A key that cools for no time is asked again in the same moment.
        let is_news = sent > key.suspect_since || is_probe && sent == key.suspect_since;
        if key.is_suspect && !is_news {
            return false;
        }
        key.refused = None;
        key.refused_for = Duration::ZERO;
        key.strikes = 0;
        core::mem::take(&mut key.is_suspect)
    }

    /// When the first of the keys that were refused, and are left alone now, may be tried again.
    pub fn refused_until(&self, now: Instant) -> Option<Instant> {
        let refused = self.keys.iter().filter(|key| key.refused.is_some());
        let times = refused.map(Key::left_alone_until);
        times.filter(|&until| until > now).min()
    }

    /// How each key fares, in the order of the config.
    pub fn health(&self) -> impl Iterator<Item = KeyHealth> {
        self.keys.iter().map(|key| KeyHealth {
            refused: key.refused.map(|(class, _)| class),
            cooling_until: key.left_alone_until(),
            in_flight: key.in_flight,
        })
    }

    /// Requests that use any of the keys.
    pub fn in_flight(&self) -> u32 {
        self.keys.iter().map(|key| key.in_flight).sum()
    }
}

impl Key {
    fn left_alone_until(&self) -> Instant {
        let refused = self.refused.map_or(Instant::ZERO, |(_, until)| until);
        self.cooling_until.max(self.heard_until).max(refused)
    }

    fn usable(&mut self, tokens: u64, now: Instant) -> Result<(), Lack> {
        let cooling_until = self.cooling_until.max(self.heard_until);
        if now < cooling_until {
            return Err(Lack::Key(NoKey::Until(cooling_until)));
        }
        if let Some((class, until)) = self.refused
            && now < until
        {
            return Err(Lack::Key(NoKey::Refused(class)));
        }
        if self.is_suspect && self.is_probing {
            return Err(Lack::Key(NoKey::Busy(None)));
        }
        let mut at = now;
        for (limit, need) in [
            (KeyLimit::Concurrent, 1),
            (KeyLimit::Requests, 1),
            (KeyLimit::Tokens, tokens),
        ] {
            match self.fits(limit, need, now) {
                Ok(()) => {}
                Err(Short::Ask) => return Err(Lack::Share(limit, need)),
                Err(Short::Asked(until)) => return Err(Lack::Asked(until)),
                Err(Short::Until(None)) => return Err(Lack::Key(NoKey::Busy(None))),
                Err(Short::Until(Some(until))) => at = at.max(until),
            }
        }
        if at > now {
            return Err(Lack::Key(NoKey::Until(at)));
        }
        Ok(())
    }

    fn fits(&mut self, limit: KeyLimit, need: u64, now: Instant) -> Result<(), Short> {
        let (lease, window) = match limit {
            KeyLimit::Concurrent => {
                let lease = self.leases.concurrent.as_ref();
                let used = u64::from(self.in_flight);
                return lease.map_or(Ok(()), |lease| lease.fits(need, used, |_, _| None, now));
            }
            KeyLimit::Requests => (&self.leases.requests, &mut self.requests),
            KeyLimit::Tokens => (&self.leases.tokens, &mut self.tokens),
        };
        let Some(lease) = lease else {
            return Ok(());
        };
        let used = window.sum(now);
        let free_at = |need, held| Some(window.fits_at(need, held, now));
        lease.fits(need, used, free_at, now)
    }

    fn lend(&mut self, ask: KeyAsk, to: u16, now: Instant) -> Option<(u64, Option<Instant>)> {
        let (lease, window) = match ask.limit {
            KeyLimit::Concurrent => {
                let used = u64::from(self.in_flight);
                let lease = self.leases.concurrent.as_mut()?;
                return Some(lease.lend(to, ask.amount, used, |_, _| None, now));
            }
            KeyLimit::Requests => (self.leases.requests.as_mut()?, &mut self.requests),
            KeyLimit::Tokens => (self.leases.tokens.as_mut()?, &mut self.tokens),
        };
        let used = window.sum(now);
        let free_at = |need, held| Some(window.fits_at(need, held, now));
        Some(lease.lend(to, ask.amount, used, free_at, now))
    }
}

impl Leases {
    /// What a key of this `name` has of its limits; of those that it had already, as much.
    fn set(&mut self, limits: &KeyLimits, name: u64, among: Among) {
        let set = |lease: &mut Option<Lease>, limit: Option<u64>, kind| match (&mut *lease, limit) {
            (_, None) => *lease = None,
            (None, Some(limit)) => *lease = Some(Lease::new(kind, limit, name, among)),
            (Some(lease), Some(limit)) => lease.go_on(limit),
        };
        let requests = limits.requests_per_minute.map(u64::from);
        set(&mut self.requests, requests, Kind::Minute);
        set(&mut self.tokens, limits.tokens_per_minute, Kind::Minute);
        let concurrent = limits.concurrent.map(u64::from);
        set(&mut self.concurrent, concurrent, Kind::Places);
    }
}

/// What is the case for two keys together: the better of both.
fn sooner(one: NoKey, other: NoKey) -> NoKey {
    match (one, other) {
        (NoKey::Until(one), NoKey::Until(other)) => NoKey::Until(one.min(other)),
        (NoKey::Busy(until), NoKey::Until(at)) | (NoKey::Until(at), NoKey::Busy(until)) => {
            NoKey::Busy(Some(until.map_or(at, |until| until.min(at))))
        }
        (NoKey::Busy(one), NoKey::Busy(other)) => NoKey::Busy(one.into_iter().chain(other).min()),
        (NoKey::Refused(_), better) | (better, NoKey::Refused(_)) => better,
        (NoKey::Elsewhere(..), _) => one,
        (_, NoKey::Elsewhere(..)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn choose(ring: &mut KeyRing, session: u64, now: Instant) -> Result<usize, NoKey> {
        ring.choose(Session(session), 0, now)
    }

    fn limited(limits: &KeyLimits, among: Among) -> KeyRing {
        KeyRing::following([(0, None)].into_iter(), limits, among)
    }

    #[test]
    fn a_session_keeps_its_key_and_sessions_spread() {
        let mut ring = KeyRing::new(4);
        let mut counts = [0; 4];
        for session in 0..4_000 {
            let key = choose(&mut ring, session, at(0)).unwrap();
            counts[key] += 1;
            assert_eq!(choose(&mut ring, session, at(9)), Ok(key));
        }
        assert!(counts.iter().all(|&count| count > 850), "{counts:?}");
        // One key gone moves its own sessions alone.
        let before: Vec<_> = (0..100).map(|it| choose(&mut ring, it, at(0))).collect();
        ring.cool(2, Some(Duration::from_millis(100)), at(0));
        for (session, key) in before.iter().enumerate() {
            let now = choose(&mut ring, session as u64, at(1));
            assert!(now == *key || *key == Ok(2));
            assert_ne!(now, Ok(2));
            assert_eq!(choose(&mut ring, session as u64, at(100)), *key);
        }
    }

    #[test]
    fn a_cool_down_is_never_shortened_and_the_first_end_is_told() {
        let mut ring = KeyRing::new(2);
        ring.cool(0, Some(Duration::from_millis(500)), at(0));
        ring.cool(0, Some(Duration::from_millis(100)), at(0));
        ring.cool(1, Some(Duration::from_millis(900)), at(0));
        assert_eq!(choose(&mut ring, 7, at(499)), Err(NoKey::Until(at(500))));
        assert_eq!(choose(&mut ring, 7, at(500)), Ok(0));
        // One request finds out, however many wait.
        assert!(ring.take(0, 0, at(500)));
        for _ in 0..1_000 {
            // The other key may be free before.
            let busy = Err(NoKey::Busy(Some(at(900))));
            assert_eq!(choose(&mut ring, 7, at(500)), busy);
        }
        ring.release(0, true, 0, None, at(500), at(500));
        assert_eq!(choose(&mut ring, 7, at(500)), Ok(0));
        assert!(!ring.accept(0, false, at(0)), "it was sent before");
        assert!(ring.accept(0, false, at(500)));
        assert!(!ring.accept(0, false, at(500)));
    }

    #[test]
    fn cool_downs_grow_where_the_provider_says_nothing() {
        let mut ring = KeyRing::new(1);
        let mut now = at(0);
        for seconds in [1, 2, 4, 5, 5] {
            ring.cool(0, None, now);
            now = now + Duration::from_secs(seconds);
            assert_eq!(choose(&mut ring, 7, now), Ok(0));
            let before = Instant::from_nanos(now.as_nanos() - 1);
            assert_eq!(choose(&mut ring, 7, before), Err(NoKey::Until(now)));
        }
        ring.accept(0, false, now + Duration::from_nanos(1));
        for millis in [25, 50, 100] {
            let short = Duration::from_millis(millis);
            assert_eq!(ring.cool(0, Some(Duration::ZERO), now), Some(now + short));
            now = now + short;
        }
        // What a limit needs to refill is as short as it is, until that turns out wrong.
        ring.accept(0, false, now + Duration::from_nanos(1));
        for millis in [1, 25, 50] {
            let short = Duration::from_millis(millis);
            let told = Duration::from_millis(1);
            assert_eq!(ring.cool(0, Some(told), now), Some(now + short));
            now = now + short;
        }
        ring.accept(0, false, now + Duration::from_nanos(1));
        ring.cool(0, None, now);
        assert_eq!(choose(&mut ring, 7, now + Duration::from_secs(1)), Ok(0));
    }

    #[test]
    fn requests_that_meet_a_limit_together_meet_it_once() {
        let mut ring = KeyRing::new(1);
        for millis in 0..10 {
            ring.cool(0, None, at(millis));
        }
        assert_eq!(choose(&mut ring, 7, at(1_000)), Ok(0));
        ring.cool(0, None, at(1_000));
        assert_eq!(
            choose(&mut ring, 7, at(2_999)),
            Err(NoKey::Until(at(3_000)))
        );
    }

    #[test]
    fn late_news_of_a_refusal_do_not_shorten_it() {
        let mut ring = KeyRing::new(1);
        ring.refuse(0, Class::Billing, at(1_000));
        ring.heard(0, at(5_000), Some(Class::Billing), at(2_000));
        let refused = Err(NoKey::Refused(Class::Billing));
        assert_eq!(choose(&mut ring, 1, at(10_999)), refused);
        assert_eq!(choose(&mut ring, 1, at(11_000)), Ok(0));
    }

    #[test]
    fn refused_keys_are_out_and_come_back_one_request_at_a_time() {
        let mut ring = KeyRing::new(1);
        assert_eq!(ring.refuse(0, Class::Billing, at(0)), Some(at(10_000)));
        // What was refused together was refused once.
        let again = ring.refuse(0, Class::Authentication, at(1));
        assert_eq!(again, Some(at(10_000)));
        let refused = Err(NoKey::Refused(Class::Authentication));
        assert_eq!(choose(&mut ring, 1, at(9_999)), refused);
        assert_eq!(choose(&mut ring, 1, at(10_000)), Ok(0));
        assert!(ring.take(0, 0, at(10_000)));
        assert_eq!(choose(&mut ring, 1, at(10_000)), Err(NoKey::Busy(None)));
        ring.accept(0, true, at(10_000));
        assert_eq!(choose(&mut ring, 1, at(10_000)), Ok(0));
        ring.release(0, true, 0, None, at(10_000), at(10_000));
        assert_eq!(ring.in_flight(), 0);
    }

    #[test]
    fn each_refusal_in_a_row_takes_a_key_out_for_twice_the_time() {
        let mut ring = KeyRing::new(1);
        let mut now = at(0);
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            let until = ring.refuse(0, Class::Authentication, now).unwrap();
            assert_eq!(until, now + Duration::from_secs(seconds));
            now = until;
        }
        ring.accept(0, false, now + Duration::from_nanos(1));
        let until = ring.refuse(0, Class::Authentication, now).unwrap();
        assert_eq!(until, now + Duration::from_secs(10));
        // What others found out counts.
        ring.heard(0, at(900_000_000), Some(Class::Billing), at(899_960_000));
        let until = ring.refuse(0, Class::Billing, at(900_000_000)).unwrap();
        assert_eq!(until, at(900_080_000));
    }

    #[test]
    fn what_others_learnt_earlier_and_say_later_makes_no_time_shorter() {
        for refused in [None, Some(Class::Billing)] {
            let mut ring = KeyRing::new(1);
            ring.heard(0, at(610_000), refused, at(10_000));
            ring.heard(0, at(600_000), refused, at(10_001));
            let health = ring.health().next().unwrap();
            assert_eq!(health.cooling_until, at(610_000), "{refused:?}");
        }
    }

    #[test]
    fn limits_of_a_key_hold() {
        let limits = KeyLimits {
            requests_per_minute: Some(3),
            tokens_per_minute: Some(1_000),
            concurrent: Some(2),
        };
        let choose = |ring: &mut KeyRing, tokens, now| ring.choose(Session(1), tokens, now);
        let mut ring = limited(&limits, Among::default());
        ring.take(0, 400, at(0));
        ring.take(0, 400, at(0));
        assert_eq!(choose(&mut ring, 100, at(0)), Err(NoKey::Busy(None)));
        ring.release(0, false, 400, Some(900), at(0), at(0));
        assert_eq!(choose(&mut ring, 100, at(0)), Err(NoKey::Until(at(65_000))));
        ring.release(0, false, 400, Some(0), at(0), at(1_000));
        assert_eq!(choose(&mut ring, 100, at(1_000)), Ok(0));
        ring.take(0, 10, at(1_000));
        assert_eq!(
            choose(&mut ring, 0, at(1_000)),
            Err(NoKey::Until(at(65_000)))
        );
        assert_eq!(choose(&mut ring, 0, at(65_000)), Ok(0));
    }

    #[test]
    fn what_a_shard_has_not_it_asks_the_others_for() {
        let limits = KeyLimits {
            requests_per_minute: Some(3),
            tokens_per_minute: None,
            concurrent: None,
        };
        let among = |own| Among { own, shards: 2 };
        let mut one = limited(&limits, among(0));
        let mut other = limited(&limits, among(1));
        let now = at(0);
        assert_eq!(choose(&mut one, 1, now), Ok(0));
        one.take(0, 0, now);
        if choose(&mut one, 1, now) == Ok(0) {
            core::mem::swap(&mut one, &mut other);
            one.take(0, 0, now);
        }
        let Err(NoKey::Elsewhere(until, Some(ask))) = choose(&mut one, 1, now) else {
            panic!("it asks");
        };
        let asked = NoKey::Elsewhere(until, None);
        assert_eq!(choose(&mut one, 1, now), Err(asked), "once");
        let (amount, free_at) = other.lend(ask, 0, now).expect("a limit");
        assert_eq!((amount, free_at), (1, None));
        assert!(one.gain(KeyAsk { amount, ..ask }, 1, Some(free_at)));
        assert_eq!(choose(&mut one, 1, now), Ok(0));
    }

    #[test]
    fn no_key_at_all_is_no_key() {
        let refused = Err(NoKey::Refused(Class::Authentication));
        assert_eq!(choose(&mut KeyRing::new(0), 1, at(0)), refused);
    }
}
