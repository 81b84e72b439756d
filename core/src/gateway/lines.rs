//! [`Lines`]: how many requests a client, a provider and a target have at once, and who waits
//! for one of them.
//!
//! Each of them is a [`Line`] of its own, so that nobody who waits for one is in the way of those
//! who wait for another. Whatever is freed goes to the one who is next in its line; whether that
//! one can use it is found out by letting it look ([`Lines::next_woken`]), and if it goes
//! away, served or not, the one after it looks. So somebody who stays in line has looked since
//! the last time when anything was freed there.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::ctx::{Alarm, AlarmClock};
use crate::base::timer::Timers;
use crate::base::{ExchangeId, Instant};
use crate::config::{Snapshot, Upstream};
use crate::policy::queue::{self, FairQueue, Place, Priority, Standing};

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
    /// Requests at once.
    limit: Option<u32>,
    in_flight: u32,
    queue: FairQueue<ExchangeId>,
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
}

impl Line {
    fn new(limit: Option<u32>, shards: u16) -> Line {
        Line {
            limit: limit.map(|limit| queue::share(limit, shards)),
            ..Line::default()
        }
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.in_flight >= limit)
    }
}

impl Lines {
    pub(super) fn new(snapshot: &Snapshot, shards: u16) -> Lines {
        let providers = snapshot.providers.iter();
        let mut lines = Lines {
            providers: providers
                .map(|it| Line::new(it.concurrent, shards))
                .collect(),
            ..Lines::default()
        };
        let targets = snapshot.targets();
        lines.targets.resize_with(targets, Line::default);
        for upstream in snapshot.upstreams() {
            if let Some(line) = lines.targets.get_mut(upstream.target) {
                *line = Line::new(upstream.concurrent, shards);
            }
        }
        lines
    }

    /// Begins anew with the lines of `snapshot`; what clients have in flight is kept. Gives those
    /// who waited: they have to look again.
    pub(super) fn reload(
        &mut self,
        snapshot: &Snapshot,
        shards: u16,
        timers: &mut Timers<Alarm>,
    ) -> Vec<ExchangeId> {
        let mut old = core::mem::replace(self, Lines::new(snapshot, shards));
        let lines = old.providers.iter_mut().chain(&mut old.targets);
        let mut waiting = Vec::new();
        for line in lines.chain(old.clients.values_mut()) {
            line.clock.cancel(timers);
            waiting.extend(line.queue.iter().copied());
            line.queue = FairQueue::new();
        }
        old.clients.retain(|_, line| line.in_flight > 0);
        self.clients = old.clients;
        waiting
    }

    /// What keeps one of `priority` from `upstream`: as many requests are there as may be, or
    /// others who came before. One who is the `first` in line for either is not kept by those who
    /// wait for the other: both may be freed at once, and each would make way for the other.
    pub(super) fn obstacle(
        &self,
        upstream: &Upstream,
        priority: Priority,
        first: Option<Resource>,
    ) -> Option<Resource> {
        let target = Resource::Target(upstream.target);
        let provider = Resource::Provider(upstream.provider);
        let is_next = first.is_some_and(|it| it == target || it == provider);
        [target, provider].into_iter().find(|&resource| {
            self.line(resource).is_some_and(|line| {
                line.is_full() || (!is_next && line.queue.is_ahead_of(priority))
            })
        })
    }

    /// Whether as many requests are there as may be.
    pub(super) fn is_full(&self, resource: Resource) -> bool {
        self.line(resource).is_some_and(Line::is_full)
    }

    /// One more request of a client that may have `limit` at once. Says whether it may; then
    /// [`Lines::vacate`] must follow.
    pub(super) fn enter(&mut self, standing: Standing, limit: u32, is_next: bool) -> bool {
        let line = self.clients.entry(standing.client).or_default();
        line.limit = Some(limit);
        let may = !line.is_full() && (is_next || line.queue.is_empty());
        line.in_flight += u32::from(may);
        may
    }

    /// A request goes to `resource`. [`Lines::vacate`] must follow.
    pub(super) fn occupy(&mut self, resource: Resource) {
        if let Some(line) = self.line_mut(resource) {
            line.in_flight += 1;
        }
    }

    /// It is there no longer.
    pub(super) fn vacate(&mut self, resource: Resource) {
        if let Some(line) = self.line_mut(resource) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
        self.wake(resource);
        self.tidy(resource);
    }

    /// Whoever is next in line for `resource` should look.
    pub(super) fn wake(&mut self, resource: Resource) {
        let is_waited_for = self.line(resource).is_some_and(|it| !it.queue.is_empty());
        if is_waited_for && !self.wakes.contains(&resource) {
            self.wakes.push_back(resource);
        }
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

    /// Who waits for a target or a provider; some in several lines, and named as often.
    pub(super) fn who_wait(&self) -> Vec<ExchangeId> {
        let lines = self.providers.iter().chain(&self.targets);
        lines.flat_map(|line| line.queue.iter()).copied().collect()
    }

    /// Requests that stand in line.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
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
                let place = line.queue.push(standing, cost, order, id);
                places.push((resource, place));
            }
            if let (Some(until), Resource::Provider(provider)) = (until, resource) {
                line.clock.set(until, Alarm::Keys(provider), timers);
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
        }
        self.wake(resource);
        self.tidy(resource);
    }

    /// Forgets a client of whom nothing is left.
    fn tidy(&mut self, resource: Resource) {
        if let Resource::Client(client) = resource
            && let Some(line) = self.clients.get(&client)
            && line.in_flight == 0
            && line.queue.is_empty()
        {
            self.clients.remove(&client);
        }
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
