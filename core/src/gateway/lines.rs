//! [`Lines`]: how many requests a client, a provider and a target have at once, and who waits
//! for one of them.
//!
//! Each of them is a [`Line`] of its own, so that nobody who waits for one is in the way of those
//! who wait for another. Whatever is freed goes to the one who is next in its line; whether that
//! one can use it is found out by letting it look ([`Lines::next_woken`]), and if it goes
//! away, served or not, the one after it looks. So somebody who stays in line has looked since
//! the last time when anything was freed there.
//!
//! How many a line lets through is a [`Lease`], a part of what holds over all shards. What these
//! ask and lend each other goes out as letters at the end of a turn, see `gateway::lend`.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::ctx::{Alarm, AlarmClock};
use super::io::{Limited, Message};
use super::provider::ProviderState;
use crate::base::timer::Timers;
use crate::base::{ExchangeId, Instant, ShardId};
use crate::config::{Snapshot, Upstream};
use crate::policy::keys::KeyAsk;
use crate::policy::lease::{self, Among, Kind, Lease, Short};
use crate::policy::queue::{FairQueue, Place, Priority, Standing};

/// What requests wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resource {
    /// That another request of the client ends.
    Client(u64),
    /// A key of the provider, or that it answers fewer requests.
    Provider(usize),
    /// That the target answers fewer requests.
    Target(usize),
}

/// One of them, and those who wait for it.
#[derive(Debug, Default)]
struct Line {
    /// What it is called among shards.
    name: u64,
    /// Requests at once.
    lease: Option<Lease>,
    in_flight: u32,
    queue: FairQueue<ExchangeId>,
    /// Since when somebody stands there without a break.
    stood_since: Option<Instant>,
    /// Wakes the first when a key will be free.
    clock: AlarmClock,
    /// How long the one had waited who was served last.
    waited: Duration,
}

/// All lines of a shard.
#[derive(Debug, Default)]
pub(super) struct Lines {
    clients: BTreeMap<u64, Line>,
    providers: Vec<Line>,
    targets: Vec<Line>,
    /// Requests that stand in at least one line.
    waiting: usize,
    /// Lines whose first one should look.
    wakes: VecDeque<Resource>,
    among: Among,
    /// What is to be said to other shards.
    letters: VecDeque<(u16, Message)>,
    /// What others have asked for of limits that are not known here, once the next config is.
    early: Vec<(u16, Limited, u64)>,
    /// Of these others may be given some.
    dues: Vec<Resource>,
}

/// What keeps a request from a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Obstacle {
    pub(super) resource: Resource,
    /// Why no more requests may go there, unless others come before.
    pub(super) short: Option<Short>,
}

impl Line {
    fn new(limit: Option<u32>, name: u64, among: Among) -> Line {
        let lease = |limit| Lease::new(Kind::Places, u64::from(limit), name, among);
        Line {
            name,
            lease: limit.map(lease),
            ..Line::default()
        }
    }

    /// Whether one more request may go there.
    fn room(&self, now: Instant) -> Result<(), Short> {
        let in_flight = u64::from(self.in_flight);
        let lease = self.lease.as_ref();
        lease.map_or(Ok(()), |it| it.fits(1, in_flight, |_, _| None, now))
    }

    fn occupy(&mut self) {
        self.in_flight += 1;
        if let Some(lease) = &mut self.lease {
            lease.used(1);
        }
    }

    /// Goes on with what a line of the same name had.
    fn follow(&mut self, old: &Line) {
        if let (Some(lease), Some(old)) = (&mut self.lease, &old.lease) {
            let limit = lease.limit();
            lease.clone_from(old);
            lease.go_on(limit);
        }
    }
}

impl Lines {
    pub(super) fn new(snapshot: &Snapshot, among: Among) -> Lines {
        let providers = snapshot.providers.iter();
        let mut lines = Lines {
            providers: providers
                .map(|it| Line::new(it.concurrent, lease::name(&it.name), among))
                .collect(),
            among,
            ..Lines::default()
        };
        let targets = snapshot.targets();
        lines.targets.resize_with(targets, Line::default);
        let mut namesakes: BTreeMap<u64, u64> = BTreeMap::new();
        for upstream in snapshot.upstreams() {
            let provider = snapshot.provider_name(upstream).map_or("", |name| name);
            let model = upstream.model.as_ref().map(|model| model.unescape());
            let name = lease::name(&format!("{provider}/{}", model.unwrap_or_default()));
            let before = namesakes.entry(name).or_default();
            if let Some(line) = lines.targets.get_mut(upstream.target) {
                *line = Line::new(upstream.concurrent, name.wrapping_add(*before), among);
            }
            *before += 1;
        }
        lines
    }

    /// Begins anew with the lines of `snapshot`; what clients have in flight is kept, and what
    /// shards have lent each other. Gives those who waited: they have to look again.
    pub(super) fn reload(
        &mut self,
        snapshot: &Snapshot,
        timers: &mut Timers<Alarm>,
    ) -> Vec<ExchangeId> {
        let among = self.among;
        let mut old = core::mem::replace(self, Lines::new(snapshot, among));
        let lines = old.providers.iter_mut().chain(&mut old.targets);
        let mut waiting = Vec::new();
        for line in lines.chain(old.clients.values_mut()) {
            line.clock.cancel(timers);
            waiting.extend(line.queue.iter().copied());
            line.queue = FairQueue::new();
            line.stood_since = None;
        }
        for (new, old) in [
            (&mut self.providers, &old.providers),
            (&mut self.targets, &old.targets),
        ] {
            for line in new {
                if let Some(old) = old.iter().find(|old| old.name == line.name) {
                    line.follow(old);
                }
            }
        }
        self.clients = old.clients;
        self.letters = old.letters;
        self.early = old.early;
        for lease in self.clients.values_mut().filter_map(|it| it.lease.as_mut()) {
            lease.go_on(lease.limit());
        }
        waiting
    }

    /// What requests occupy under a new config is known: the rest goes to those shards that wait
    /// for it. Gives what was asked for before its limit was known.
    pub(super) fn share_anew(&mut self) -> Vec<(u16, Limited, u64)> {
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        let providers = (0..self.providers.len()).map(Resource::Provider);
        let targets = (0..self.targets.len()).map(Resource::Target);
        let clients = clients.into_iter().map(Resource::Client);
        for resource in providers.chain(targets).chain(clients) {
            self.pay(resource);
            self.tidy(resource);
        }
        core::mem::take(&mut self.early)
    }

    /// Another shard asks for some of a limit that is not known here, and perhaps will be.
    pub(super) fn asked_early(&mut self, from: u16, of: Limited, amount: u64) {
        self.early.retain(|it| (it.0, it.1) != (from, of));
        self.early.push((from, of, amount));
    }

    /// Those asks are of no config that is known.
    pub(super) fn forget_early(&mut self) {
        self.early.clear();
    }

    /// What keeps one of `priority` from `upstream`: as many requests are there as may be, or
    /// others who came before. One who is the `first` in line for either is not kept by those who
    /// wait for the other: both may be freed at once, and each would make way for the other.
    ///
    /// What is full comes before what others wait for, as that is the same for whoever looks, and
    /// from which line: else one who stands first in two lines would leave each for the other, and
    /// come back, within one instant and without an end.
    pub(super) fn obstacle(
        &self,
        upstream: &Upstream,
        priority: Priority,
        first: Option<Resource>,
        now: Instant,
    ) -> Option<Obstacle> {
        let target = Resource::Target(upstream.target);
        let provider = Resource::Provider(upstream.provider);
        let is_next = first.is_some_and(|it| it == target || it == provider);
        let is_behind = |line: &Line| !is_next && line.queue.is_ahead_of(priority);
        let full = [target, provider].into_iter().find_map(|resource| {
            let line = self.line(resource)?;
            let short = line.room(now).err()?;
            let short = Some(short).filter(|_| !is_behind(line));
            Some(Obstacle { resource, short })
        });
        let is_waited_for = |&resource: &Resource| self.line(resource).is_some_and(is_behind);
        full.or_else(|| {
            let resource = [target, provider].into_iter().find(is_waited_for)?;
            let short = None;
            Some(Obstacle { resource, short })
        })
    }

    /// Whether as many requests are there as may be.
    pub(super) fn is_full(&self, resource: Resource, now: Instant) -> bool {
        self.line(resource).is_some_and(|it| it.room(now).is_err())
    }

    /// One more request of a client that may have `limit` at once; then [`Lines::vacate`] must
    /// follow.
    ///
    /// # Errors
    /// If it may not: why, unless others come before.
    pub(super) fn enter(
        &mut self,
        standing: Standing,
        limit: u32,
        is_next: bool,
        now: Instant,
    ) -> Result<(), Option<Short>> {
        let line = self.client(standing.client, limit);
        if !is_next && !line.queue.is_empty() {
            return Err(None);
        }
        line.room(now).map_err(Some)?;
        line.occupy();
        Ok(())
    }

    /// A request goes to `resource`. [`Lines::vacate`] must follow.
    pub(super) fn occupy(&mut self, resource: Resource) {
        if let Some(line) = self.line_mut(resource) {
            line.occupy();
        }
    }

    /// It is there no longer.
    pub(super) fn vacate(&mut self, resource: Resource) {
        if let Some(line) = self.line_mut(resource) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
        self.pay(resource);
        self.wake(resource);
        self.tidy(resource);
    }

    /// What providers and targets are called, by number.
    pub(super) fn names(&self) -> LineNames {
        let names = |lines: &[Line]| lines.iter().map(|line| line.name).collect();
        LineNames {
            providers: names(&self.providers),
            targets: names(&self.targets),
        }
    }

    /// Whoever is next in line for `resource` should look.
    pub(super) fn wake(&mut self, resource: Resource) {
        let is_waited_for = self.line(resource).is_some_and(|it| !it.queue.is_empty());
        if is_waited_for && !self.wakes.contains(&resource) {
            self.wakes.push_back(resource);
        }
    }

    /// Lines whose first one should look.
    pub(super) fn wakes(&self) -> usize {
        self.wakes.len()
    }

    /// Somebody who should look, and the line whose first one that is.
    pub(super) fn next_woken(&mut self) -> Option<(ExchangeId, Resource)> {
        while let Some(resource) = self.wakes.pop_front() {
            let line = self.line_mut(resource);
            if let Some(&id) = line.and_then(|line| line.queue.first()) {
                return Some((id, resource));
            }
        }
        None
    }

    /// A provider may have a key free by now.
    pub(super) fn alarm(&mut self, provider: usize) {
        if let Some(line) = self.providers.get_mut(provider) {
            line.clock.fired();
        }
        self.wake(Resource::Provider(provider));
    }

    /// The first of those who stand in line for the provider should look at `time`.
    pub(super) fn look_at(&mut self, provider: usize, time: Instant, timers: &mut Timers<Alarm>) {
        if let Some(line) = self.providers.get_mut(provider) {
            line.clock.set(time, Alarm::Keys(provider), timers);
        }
    }

    /// Who waits for a target or a provider; some in several lines, and named as often.
    pub(super) fn who_wait(&self) -> Vec<ExchangeId> {
        let lines = self.providers.iter().chain(&self.targets);
        lines.flat_map(|line| line.queue.iter()).copied().collect()
    }

    /// Requests that stand in line.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Clients that are known.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Who should make room for one of `standing` that would wait for `resource`.
    pub(super) fn victim(&self, resource: Resource, standing: Standing) -> Option<ExchangeId> {
        let (_, id) = self.line(resource)?.queue.victim(standing)?;
        Some(*id)
    }

    /// How long somebody waited who was served last.
    pub(super) fn waited(&self, resource: Resource) -> Duration {
        self.line(resource)
            .map_or(Duration::ZERO, |line| line.waited)
    }

    /// The request stands in the lines of `wanted` from now on, and in no others: where it stood
    /// already, it keeps its place. With each resource comes when it will be free, if that is
    /// known.
    pub(super) fn line_up(
        &mut self,
        waiter: &Waiter,
        places: &mut Vec<(Resource, Place)>,
        wanted: &[(Resource, Option<Instant>)],
        now: Instant,
        timers: &mut Timers<Alarm>,
    ) {
        self.waiting += usize::from(places.is_empty());
        places.retain(|&(resource, place)| {
            let stays = wanted.iter().any(|(it, _)| *it == resource);
            if !stays && let Some(line) = self.line_mut(resource) {
                line.queue.remove(place);
                self.left(resource, timers);
            }
            stays
        });
        for &(resource, until) in wanted {
            let is_there = places.iter().any(|(it, _)| *it == resource);
            let Some(line) = self.line_mut(resource) else {
                continue;
            };
            if !is_there {
                let Waiter {
                    id,
                    standing,
                    cost,
                    order,
                } = *waiter;
                line.stood_since.get_or_insert(now);
                let place = line.queue.push(standing, cost, order, id);
                places.push((resource, place));
            }
            if let (Some(until), Resource::Provider(provider)) = (until, resource) {
                self.look_at(provider, until, timers);
            }
        }
        self.waiting -= usize::from(places.is_empty());
    }

    /// The request waits no longer. Where it is `served` after it has waited for `waited`, its
    /// client pays with its turn.
    pub(super) fn go(
        &mut self,
        places: &mut Vec<(Resource, Place)>,
        served: &[Resource],
        waited: Duration,
        timers: &mut Timers<Alarm>,
    ) {
        self.waiting -= usize::from(!places.is_empty());
        for (resource, place) in places.drain(..) {
            if let Some(line) = self.line_mut(resource) {
                if served.contains(&resource) {
                    line.queue.serve(place);
                    line.waited = waited;
                } else {
                    line.queue.remove(place);
                }
            }
            self.left(resource, timers);
        }
    }

    /// Somebody has left a line: perhaps the next one can use what that one could not.
    fn left(&mut self, resource: Resource, timers: &mut Timers<Alarm>) {
        if let Some(line) = self.line_mut(resource).filter(|it| it.queue.is_empty()) {
            line.clock.cancel(timers);
            line.stood_since = None;
            self.nobody_waits(resource);
        }
        self.wake(resource);
        self.tidy(resource);
    }

    /// Forgets a client of whom nothing is left; what others lent for it they get back.
    fn tidy(&mut self, resource: Resource) {
        let Resource::Client(client) = resource else {
            return;
        };
        let letters = &mut self.letters;
        let Some(line) = self.clients.get_mut(&client) else {
            return;
        };
        if line.in_flight > 0 || !line.queue.is_empty() {
            return;
        }
        if let Some(lease) = &mut line.lease {
            let of = limited(resource, line.name, lease);
            while let Some((to, amount)) = lease.give_back(0) {
                letters.push_back((to, lend(of, amount)));
            }
            while let Some((lender, borrower, amount)) = lease.settle() {
                let amount = i64::try_from(amount).unwrap_or(i64::MAX);
                for (to, with, amount) in [(lender, borrower, -amount), (borrower, lender, amount)]
                {
                    let with = ShardId(with);
                    letters.push_back((to, Message::Settle { of, with, amount }));
                }
            }
            if lease.is_in_use() {
                return;
            }
        }
        self.clients.remove(&client);
    }

    fn client(&mut self, client: u64, limit: u32) -> &mut Line {
        let among = self.among;
        let line = self.clients.entry(client);
        let line = line.or_insert_with(|| Line::new(Some(limit), client, among));
        if let Some(lease) = &mut line.lease {
            lease.set_limit(u64::from(limit));
        }
        line
    }

    fn line(&self, resource: Resource) -> Option<&Line> {
        match resource {
            Resource::Client(client) => self.clients.get(&client),
            Resource::Provider(index) => self.providers.get(index),
            Resource::Target(index) => self.targets.get(index),
        }
    }

    fn line_mut(&mut self, resource: Resource) -> Option<&mut Line> {
        match resource {
            Resource::Client(client) => self.clients.get_mut(&client),
            Resource::Provider(index) => self.providers.get_mut(index),
            Resource::Target(index) => self.targets.get_mut(index),
        }
    }
}

/// What shards lend each other.
impl Lines {
    /// The others are asked for a place at `resource`. Says until when to wait for their answers.
    pub(super) fn ask(&mut self, resource: Resource, now: Instant) -> Option<Instant> {
        let line = self.line_mut(resource)?;
        let lease = line.lease.as_mut()?;
        let (amount, until) = lease.ask(1, now);
        let of = limited(resource, line.name, lease);
        self.ask_others(Message::Borrow { of, amount });
        Some(until)
    }

    /// Something is asked of all other shards.
    fn ask_others(&mut self, message: Message) {
        let Among { own, shards } = self.among;
        let others = (0..shards).filter(|it| *it != own);
        self.letters.extend(others.zip(core::iter::repeat(message)));
    }

    /// Says `message` to another shard.
    pub(super) fn say(&mut self, to: u16, message: Message) {
        self.letters.push_back((to, message));
    }

    /// What is to be said to another shard.
    pub(super) fn next_letter(&mut self) -> Option<(u16, Message)> {
        self.letters.pop_front()
    }

    /// Something of which others may be given some now, and are if they wait for it.
    pub(super) fn next_due(&mut self) -> Option<Resource> {
        let resource = self.dues.pop()?;
        self.pay(resource);
        self.tidy(resource);
        Some(resource)
    }

    /// What others call `of`; a client's line is there from now on.
    pub(super) fn resource(&mut self, of: Limited) -> Option<Resource> {
        let at = |lines: &[Line], name| lines.iter().position(|line| line.name == name);
        match of {
            Limited::Client(client, limit) => {
                self.client(client, limit);
                Some(Resource::Client(client))
            }
            Limited::Provider(name) => at(&self.providers, name).map(Resource::Provider),
            Limited::Key { provider, .. } => at(&self.providers, provider).map(Resource::Provider),
            Limited::Target(name) => at(&self.targets, name).map(Resource::Target),
        }
    }

    /// The others are asked for some of a limit of a provider's key.
    pub(super) fn ask_for_key(&mut self, provider: usize, state: &ProviderState, ask: KeyAsk) {
        if let Some(of) = self.key(provider, state, ask) {
            let amount = ask.amount;
            self.ask_others(Message::Borrow { of, amount });
        }
    }

    /// What other shards call a limit of a provider's key.
    pub(super) fn key(
        &self,
        provider: usize,
        state: &ProviderState,
        ask: KeyAsk,
    ) -> Option<Limited> {
        Some(Limited::Key {
            provider: self.providers.get(provider)?.name,
            key: *state.key_names.get(ask.key)?,
            limit: ask.limit,
        })
    }

    /// Another shard asks for places at `resource`: what it gets now; `None` if any number may be
    /// there.
    pub(super) fn lend(
        &mut self,
        resource: Resource,
        to: u16,
        amount: u64,
        now: Instant,
    ) -> Option<u64> {
        let lent = self.line_mut(resource).and_then(|line| {
            let in_flight = u64::from(line.in_flight);
            let lease = line.lease.as_mut()?;
            let (lent, _) = lease.lend(to, amount, in_flight, |_, _| None, now);
            Some(lent)
        });
        self.tidy(resource);
        lent
    }

    /// Another shard lends places at `resource`, or says that it has none. Says whether those who
    /// wait should look again.
    pub(super) fn gain(
        &mut self,
        resource: Resource,
        from: u16,
        amount: u64,
        answer: Option<Option<Instant>>,
    ) -> bool {
        let Some(line) = self.line_mut(resource) else {
            return false;
        };
        let Some(lease) = &mut line.lease else {
            return false;
        };
        let is_news = lease.gain(from, amount, answer);
        // The answer may be to a client that is gone.
        self.tidy(resource);
        is_news
    }

    /// Another shard has settled its account here by that of one of `with`.
    pub(super) fn settled(&mut self, resource: Resource, by: u16, with: u16, amount: i64) {
        if let Some(lease) = self.lease_mut(resource) {
            lease.settled(by, with, amount);
        }
        self.tidy(resource);
    }

    /// Who waits for it.
    pub(super) fn who_wait_for(&self, resource: Resource) -> impl Iterator<Item = ExchangeId> {
        let queue = self.line(resource).map(|line| line.queue.iter());
        queue.into_iter().flatten().copied()
    }

    /// A place is kept for one who finds out about the rest of what it needs.
    pub(super) fn keep(&mut self, resource: Resource) {
        if let Some(lease) = self.lease_mut(resource) {
            lease.keep();
        }
    }

    /// It is kept no longer.
    pub(super) fn let_go(&mut self, resource: Resource) {
        if let Some(lease) = self.lease_mut(resource) {
            lease.let_go();
        }
        self.due(resource);
    }

    /// Others may be given some of what is limited there.
    pub(super) fn due(&mut self, resource: Resource) {
        self.dues.push(resource);
    }

    /// If nobody waits for it here, what was lent for those who did is for others again.
    pub(super) fn nobody_waits(&mut self, resource: Resource) {
        if self.is_unwaited(resource) {
            if let Some(lease) = self.lease_mut(resource) {
                lease.nobody_waits();
            }
            self.dues.push(resource);
        }
    }

    /// Whether somebody has stood there without a break for so long.
    pub(super) fn is_crowded(&self, resource: Resource, time: Duration, now: Instant) -> bool {
        let since = self.line(resource).and_then(|line| line.stood_since);
        since.is_some_and(|since| now.since(since) >= time)
    }

    /// Whether nobody waits for it.
    pub(super) fn is_unwaited(&self, resource: Resource) -> bool {
        self.line(resource).is_none_or(|it| it.queue.is_empty())
    }

    fn lease_mut(&mut self, resource: Resource) -> Option<&mut Lease> {
        self.line_mut(resource)?.lease.as_mut()
    }

    /// Places that are free go to other shards that wait for them.
    fn pay(&mut self, resource: Resource) {
        let letters = &mut self.letters;
        let line = match resource {
            Resource::Client(client) => self.clients.get_mut(&client),
            Resource::Provider(index) => self.providers.get_mut(index),
            Resource::Target(index) => self.targets.get_mut(index),
        };
        let Some(line) = line else {
            return;
        };
        let in_flight = u64::from(line.in_flight);
        if let Some(lease) = &mut line.lease {
            let of = limited(resource, line.name, lease);
            while let Some((to, amount)) = lease.pay(in_flight) {
                letters.push_back((to, lend(of, amount)));
            }
        }
    }
}

/// What other shards call a resource.
fn limited(resource: Resource, name: u64, lease: &Lease) -> Limited {
    match resource {
        Resource::Client(client) => {
            Limited::Client(client, u32::try_from(lease.limit()).unwrap_or(u32::MAX))
        }
        Resource::Provider(_) => Limited::Provider(name),
        Resource::Target(_) => Limited::Target(name),
    }
}

/// Places that are lent, or given back, unasked.
pub(super) fn lend(of: Limited, amount: u64) -> Message {
    Message::Lend {
        of,
        amount,
        is_answer: false,
        until: None,
    }
}

/// What providers and targets are called, under one config as under the next.
#[derive(Debug)]
pub(super) struct LineNames {
    providers: Vec<u64>,
    targets: Vec<u64>,
}

impl LineNames {
    /// The number that the provider has in `other`.
    pub(super) fn provider_in(&self, provider: usize, other: &LineNames) -> Option<usize> {
        let name = self.providers.get(provider)?;
        other.providers.iter().position(|it| it == name)
    }

    /// The number that the target has in `other`.
    pub(super) fn target_in(&self, target: usize, other: &LineNames) -> Option<usize> {
        let name = self.targets.get(target)?;
        other.targets.iter().position(|it| it == name)
    }
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) id: ExchangeId,
    pub(super) standing: Standing,
    /// Tokens that it will use.
    pub(super) cost: u64,
    /// Of the same client's it comes before those with a greater one.
    pub(super) order: u64,
}
