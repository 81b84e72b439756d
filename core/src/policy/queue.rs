//! [`FairQueue`]: who is next among those who wait for one thing: by priority, then by turns of
//! their clients, each of which may take as many tokens as its weight says.
//!
//! Turns are those of deficit round robin (Shreedhar, Varghese 1995): a client whose turn comes
//! earns a quantum of tokens times its weight, and is served as long as it has earned enough for
//! its first request; a client that waits for nothing keeps nothing. Every operation takes time
//! logarithmic in what waits, but for a round in which nobody has earned enough, and for
//! [`FairQueue::victim`], which take time linear in the clients. The queue itself has no bound: who
//! fills it keeps one, and asks that one who should make room.

use core::time::Duration;
use std::collections::BTreeMap;

/// What a client earns in one turn, in tokens, times its weight.
const QUANTUM: u64 = 1024;
/// How many priorities there are.
const LEVELS: usize = 3;

/// How many may wait, and how many of one client's requests are worked on at once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueueLimits {
    /// Requests that may wait for a key, a target or their turn, all together, in each worker.
    /// Zero lets none wait.
    pub length_max: u32,
    /// Requests at the same time of a client for which nothing else is said: of a caller, or where
    /// there are no callers, of an address.
    pub concurrent_per_client: Option<u32>,
    /// How long a request waits in a line that somebody has stood in without a break for as long as
    /// [`wait_max`](super::retry::RetryLimits::wait_max): more come than are served, and whoever
    /// waited to the end would be served late, if at all. No longer than that in any case.
    pub crowded_wait_max: Duration,
}

impl Default for QueueLimits {
    fn default() -> QueueLimits {
        QueueLimits {
            length_max: 2048,
            concurrent_per_client: None,
            crowded_wait_max: Duration::from_secs(5),
        }
    }
}

/// Who is served first; the lower ones wait until none of the higher ones does.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Priority {
    /// Before all others.
    High,
    /// What is said of nobody.
    #[default]
    Normal,
    /// After all others.
    Low,
}

impl Priority {
    /// The names in the config.
    pub const NAMES: &[(&str, Priority)] = &[
        ("high", Priority::High),
        ("normal", Priority::Normal),
        ("low", Priority::Low),
    ];
}

/// Whose a request is, and how that one stands among the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The client, by a number of its own.
    pub client: u64,
    /// Its share beside clients of the same priority, in relation to theirs; at least one.
    pub weight: u32,
    /// Its priority.
    pub priority: Priority,
}

impl Standing {
    /// A client like any other.
    pub const fn of(client: u64) -> Standing {
        Standing {
            client,
            weight: 1,
            priority: Priority::Normal,
        }
    }
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    priority: Priority,
    client: u64,
    /// Within the client's: what was asked first, and of that, what came first.
    at: (u64, u64),
}

/// Those who wait for one thing.
#[derive(Debug)]
pub struct FairQueue<T> {
    levels: [Level<T>; LEVELS],
    len: usize,
    pushed: u64,
}

/// Those of one priority.
#[derive(Debug)]
struct Level<T> {
    flows: BTreeMap<u64, Flow<T>>,
    /// Clients by their turn.
    turns: BTreeMap<u64, u64>,
    last_turn: u64,
}

/// Those of one client; at least one.
#[derive(Debug)]
struct Flow<T> {
    waiters: BTreeMap<(u64, u64), Waiter<T>>,
    turn: u64,
    quantum: u64,
    /// Tokens earned and not used.
    deficit: u64,
    /// Whether it has earned its quantum in this turn.
    has_earned: bool,
}

#[derive(Debug)]
struct Waiter<T> {
    item: T,
    cost: u64,
}

impl<T> FairQueue<T> {
    /// Nobody waits.
    pub const fn new() -> FairQueue<T> {
        FairQueue {
            levels: [const { Level::new() }; LEVELS],
            len: 0,
            pushed: 0,
        }
    }

    /// `item` waits from now on. Of the same client's it is ahead of those with a greater `order`;
    /// `cost` is what it will use, in tokens.
    pub fn push(&mut self, standing: Standing, cost: u64, order: u64, item: T) -> Place {
        self.pushed += 1;
        let place = Place {
            priority: standing.priority,
            client: standing.client,
            at: (order, self.pushed),
        };
        self.len += 1;
        let level = self.level(standing.priority);
        let flow = level.flows.entry(standing.client).or_insert_with(|| {
            level.last_turn += 1;
            level.turns.insert(level.last_turn, standing.client);
            Flow {
                waiters: BTreeMap::new(),
                turn: level.last_turn,
                quantum: QUANTUM * u64::from(standing.weight.max(1)),
                deficit: 0,
                has_earned: false,
            }
        });
        flow.waiters.insert(place.at, Waiter { item, cost });
        place
    }

    /// Who is next. The answer stays the same until that one is gone, or one of a higher priority
    /// or an earlier one of the same client comes.
    pub fn first(&mut self) -> Option<&T> {
        self.levels.iter_mut().find_map(Level::first)
    }

    /// The one at `place` is served, and its client pays for it; `None` if it is not there.
    pub fn serve(&mut self, place: Place) -> Option<T> {
        self.take(place, true)
    }

    /// The one at `place` waits no longer, and costs nothing; `None` if it is not there.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        self.take(place, false)
    }

    /// Whether somebody waits who comes before one of `priority` that would come now.
    pub fn is_ahead_of(&self, priority: Priority) -> bool {
        self.len > 0
            && self
                .levels
                .iter()
                .take(priority as usize + 1)
                .any(|level| !level.flows.is_empty())
    }

    /// Who should make room for one more of `standing`: the last one of the client with most
    /// requests here, of the lowest priority; `None` if nobody has a lower priority than the new
    /// one, or more requests here.
    pub fn victim(&self, standing: Standing) -> Option<(Place, &T)> {
        let priorities = [Priority::Low, Priority::Normal, Priority::High];
        let mut lowest = priorities.into_iter().map(|it| (it, self.level_of(it)));
        let (priority, level) = lowest.find(|(_, level)| !level.flows.is_empty())?;
        if priority < standing.priority {
            return None;
        }
        let flows = level.flows.iter();
        let (&client, most) = flows.max_by_key(|(_, flow)| flow.waiters.len())?;
        let own = level.flows.get(&standing.client);
        let own = own.map_or(0, |flow| flow.waiters.len()) + 1;
        if priority == standing.priority && most.waiters.len() <= own {
            return None;
        }
        let (&at, last) = most.waiters.last_key_value()?;
        let place = Place {
            priority,
            client,
            at,
        };
        Some((place, &last.item))
    }

    /// All who wait, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let flows = self.levels.iter().flat_map(|level| level.flows.values());
        flows.flat_map(|flow| flow.waiters.values().map(|waiter| &waiter.item))
    }

    /// How many wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn take(&mut self, place: Place, is_served: bool) -> Option<T> {
        let level = self.level(place.priority);
        let flow = level.flows.get_mut(&place.client)?;
        let waiter = flow.waiters.remove(&place.at)?;
        if is_served {
            flow.deficit = flow.deficit.saturating_sub(waiter.cost);
        }
        if flow.waiters.is_empty() {
            level.turns.remove(&flow.turn);
            level.flows.remove(&place.client);
        }
        self.len -= 1;
        Some(waiter.item)
    }

    const fn level_of(&self, priority: Priority) -> &Level<T> {
        // There are as many levels as priorities.
        &self.levels[priority as usize]
    }

    const fn level(&mut self, priority: Priority) -> &mut Level<T> {
        &mut self.levels[priority as usize]
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> FairQueue<T> {
        FairQueue::new()
    }
}

impl<T> Level<T> {
    const fn new() -> Level<T> {
        Level {
            flows: BTreeMap::new(),
            turns: BTreeMap::new(),
            last_turn: 0,
        }
    }

    fn first(&mut self) -> Option<&T> {
        let mut poor = 0;
        loop {
            let client = *self.turns.first_key_value()?.1;
            let flow = self.flows.get_mut(&client)?;
            if !core::mem::replace(&mut flow.has_earned, true) {
                flow.deficit = flow.deficit.saturating_add(flow.quantum);
            }
            if flow.deficit >= flow.cost() {
                break;
            }
            self.pass_turn();
            poor += 1;
            if poor == self.flows.len() {
                self.earn_rounds();
                poor = 0;
            }
        }
        let client = self.turns.first_key_value()?.1;
        let flow = self.flows.get(client)?;
        flow.waiters.values().next().map(|waiter| &waiter.item)
    }

    /// The client whose turn it is goes to the end of the round.
    fn pass_turn(&mut self) {
        let Some((_, client)) = self.turns.pop_first() else {
            return;
        };
        self.last_turn += 1;
        self.turns.insert(self.last_turn, client);
        if let Some(flow) = self.flows.get_mut(&client) {
            flow.turn = self.last_turn;
            flow.has_earned = false;
        }
    }

    /// All earn at once what they earn in the rounds in which nobody would be served.
    fn earn_rounds(&mut self) {
        let rounds = self.flows.values().map(|flow| {
            let missing = flow.cost().saturating_sub(flow.deficit);
            missing.div_ceil(flow.quantum)
        });
        let rounds = rounds.min().unwrap_or(0).saturating_sub(1);
        for flow in self.flows.values_mut() {
            let earned = flow.quantum.saturating_mul(rounds);
            flow.deficit = flow.deficit.saturating_add(earned);
        }
    }
}

impl<T> Flow<T> {
    /// What the first one needs.
    fn cost(&self) -> u64 {
        self.waiters.values().next().map_or(0, |first| first.cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Seed};

    const COST: u64 = 5_000;

    fn with_weight(client: u64, weight: u32) -> Standing {
        Standing {
            weight,
            ..Standing::of(client)
        }
    }

    fn with_priority(client: u64, priority: Priority) -> Standing {
        Standing {
            priority,
            ..Standing::of(client)
        }
    }

    /// Takes out who is next; the items are places in `places`.
    fn pop(queue: &mut FairQueue<usize>, places: &[Place]) -> Option<usize> {
        let next = *queue.first()?;
        assert_eq!(queue.first(), Some(&next), "asking changes nothing");
        queue.serve(places[next])
    }

    #[test]
    fn one_client_is_served_in_order_and_an_earlier_request_is_ahead() {
        let mut queue = FairQueue::new();
        let mut places = Vec::new();
        for (item, order) in [5, 7, 7, 6, 1].into_iter().enumerate() {
            places.push(queue.push(Standing::of(1), COST, order, item));
        }
        let order: Vec<_> = core::iter::from_fn(|| pop(&mut queue, &places)).collect();
        assert_eq!(order, [4, 0, 3, 1, 2]);
        assert!(queue.is_empty() && queue.first().is_none());
        assert_eq!(queue.serve(places[0]), None);
    }

    #[test]
    fn clients_share_tokens_by_weight_whatever_their_requests_weigh() {
        // The second client's requests are ten times as long, the third counts three times.
        let clients = [(1, 1, 1_000), (2, 1, 10_000), (3, 3, 4_000)];
        let mut queue = FairQueue::new();
        let (mut places, mut owners) = (Vec::new(), Vec::new());
        for _ in 0..1_000 {
            for (client, weight, cost) in clients {
                let standing = with_weight(client, weight);
                places.push(queue.push(standing, cost, 0, owners.len()));
                owners.push((client as usize, cost));
            }
        }
        let mut tokens = [0; 4];
        while tokens.iter().sum::<u64>() < 3_000_000 {
            let (client, cost) = owners[pop(&mut queue, &places).unwrap()];
            tokens[client] += cost;
        }
        let share = |client: usize| tokens[client] as f64 / 600_000.0;
        for (client, expected) in [(1, 1.0), (2, 1.0), (3, 3.0)] {
            let off = (share(client) - expected).abs();
            assert!(off < 0.05, "{tokens:?}");
        }
    }

    #[test]
    fn higher_priorities_are_served_first() {
        let mut queue = FairQueue::new();
        let mut places = Vec::new();
        let priorities = [
            Priority::Low,
            Priority::Normal,
            Priority::High,
            Priority::Low,
            Priority::High,
        ];
        assert!(!queue.is_ahead_of(Priority::Low));
        for (item, priority) in priorities.into_iter().enumerate() {
            let standing = with_priority(item as u64, priority);
            places.push(queue.push(standing, COST, 0, item));
        }
        assert!(queue.is_ahead_of(Priority::High));
        let order: Vec<_> = core::iter::from_fn(|| pop(&mut queue, &places)).collect();
        assert_eq!(order, [2, 4, 1, 0, 3]);
        places.push(queue.push(Standing::of(9), COST, 0, 5));
        assert!(queue.is_ahead_of(Priority::Low) && queue.is_ahead_of(Priority::Normal));
        assert!(!queue.is_ahead_of(Priority::High));
    }

    #[test]
    fn who_makes_room_is_the_last_of_the_greediest_of_the_lowest() {
        let mut queue = FairQueue::new();
        let mut places = Vec::new();
        for (item, client) in [1, 1, 1, 2, 2].into_iter().enumerate() {
            places.push(queue.push(Standing::of(client), COST, 0, item));
        }
        let victim = |client, priority| {
            let victim = queue.victim(with_priority(client, priority));
            victim.map(|(place, &item)| (place == places[item], item))
        };
        assert_eq!(victim(3, Priority::Normal), Some((true, 2)));
        // With one more it would have as many.
        assert_eq!(victim(2, Priority::Normal), None);
        assert_eq!(victim(1, Priority::Normal), None);
        assert_eq!(victim(1, Priority::High), Some((true, 2)));
        assert_eq!(victim(3, Priority::Low), None);
        queue.push(with_priority(8, Priority::Low), COST, 0, 99);
        let victim = queue.victim(Standing::of(1));
        assert_eq!(victim.map(|(_, &item)| item), Some(99));
    }

    /// Against a list that is searched: nothing is lost, nothing comes twice, the order of each
    /// client holds, and no client is passed over for long.
    #[test]
    fn random_pushes_and_removals_agree_with_a_list() {
        for seed in 0..200 {
            let mut rng = Rng::new(Seed(seed));
            let mut queue = FairQueue::new();
            let mut list: Vec<(usize, Standing, Place)> = Vec::new();
            let mut count = 0;
            for _ in 0..400 {
                let at = usize::try_from(rng.below(list.len().max(1) as u64)).unwrap();
                match rng.below(5) {
                    0..3 => {
                        let standing = Standing {
                            client: rng.below(6),
                            weight: 1 + u32::try_from(rng.below(4)).unwrap(),
                            priority: Priority::NAMES[rng.below(3) as usize].1,
                        };
                        let cost = 1 << rng.below(24);
                        let place = queue.push(standing, cost, count as u64, count);
                        list.push((count, standing, place));
                        count += 1;
                    }
                    3 if !list.is_empty() => {
                        let (item, _, place) = list.remove(at);
                        assert_eq!(queue.remove(place), Some(item));
                        assert_eq!(queue.remove(place), None);
                    }
                    _ => {
                        let next = queue.first().copied();
                        let best = list.iter().map(|it| it.1.priority).min();
                        let found = list.iter().position(|it| Some(it.0) == next);
                        assert_eq!(found.is_some(), best.is_some());
                        let Some(found) = found else { continue };
                        let (item, standing, place) = list.remove(found);
                        assert_eq!(Some(standing.priority), best);
                        let mut earlier = list.iter().filter(|it| it.0 < item);
                        let is_own = |it: &&(usize, Standing, Place)| {
                            it.1.client == standing.client && it.1.priority == standing.priority
                        };
                        assert!(earlier.all(|it| !is_own(&it)));
                        assert_eq!(queue.serve(place), Some(item));
                    }
                }
                assert_eq!(queue.len(), list.len());
                assert_eq!(queue.iter().count(), list.len());
            }
        }
    }

    #[test]
    fn requests_of_any_size_take_few_steps() {
        let mut queue = FairQueue::new();
        let huge = queue.push(Standing::of(1), u64::MAX, 0, 0);
        queue.push(Standing::of(2), u64::MAX - 1, 0, 1);
        assert!(queue.first().is_some());
        assert_eq!(queue.remove(huge), Some(0));
        assert_eq!(queue.first(), Some(&1));
    }
}
