//! A whole run, drawn from a seed: shards, their config, upstreams, clients, faults, checkers.

use core::cell::RefCell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::base::{Instant, Limits, ListenerId, Rng, Seed, ShardId};
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::Machine;
use tollgate_core::gateway::{Shard, ShardOptions, Usage};

use crate::check::run::Checker;
use crate::faults::{Fault, FaultSet, Faults};
use crate::peer::Peer;
use crate::script::client::ClientPeer;
pub use crate::script::journal::Cut;
use crate::script::journal::{Journal, Shared};
use crate::script::outage;
use crate::script::server::ServerPeer;
use crate::setup::{PROVIDERS, Setup};
use crate::world::{Control, Violation, World};

/// Events after which a run is held to be endless: more than dozens of clients need for answers of
/// a megabyte, a few bytes at a time.
const EVENTS_MAX: u64 = 12_000_000;
/// How long a drain may take at the end.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// A machine that tells what it holds.
pub trait Observed: Machine {
    /// What it holds.
    fn usage(&self) -> Usage;
}

impl Observed for Shard {
    fn usage(&self) -> Usage {
        Shard::usage(self)
    }
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What decides all.
    pub seed: u64,
    /// Faults that may strike, where the seed has them.
    pub faults: FaultSet,
    /// Faults that the seed is to have.
    pub certain: FaultSet,
    /// Clients that take part, as a set of bits.
    pub clients: u64,
    /// Whether the lines of the trace are kept.
    pub keeps_trace: bool,
    /// Whether there are chains, keys, breakers and retries; else each request has one target and
    /// one attempt. `None` leaves it to the seed.
    pub resilience: Option<bool>,
    /// Requests that each client sends at most.
    pub asks_max: u64,
    /// Where each answer ends, if all do at the same place.
    pub cut: Option<Cut>,
}

impl Options {
    /// The run of a seed as it is.
    pub const fn new(seed: u64) -> Options {
        Options {
            seed,
            faults: FaultSet::ALL,
            certain: FaultSet::NONE,
            clients: u64::MAX,
            keeps_trace: false,
            resilience: None,
            asks_max: u64::MAX,
            cut: None,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What went wrong, if anything did.
    pub violation: Option<Violation>,
    /// Of all that happened.
    pub trace_hash: u64,
    /// What happened, where it was kept.
    pub trace: Vec<String>,
    /// Events handled.
    pub events: u64,
    /// Virtual time that passed.
    pub time: Duration,
    /// Requests that were answered or given up.
    pub exchanges: u64,
    /// Of these, those answered completely.
    pub complete: u64,
    /// How many clients the seed has.
    pub clients: usize,
    /// How many shards it has.
    pub shards: usize,
    /// How often each fault struck, in the order of [`Fault::ALL`].
    pub injected: Vec<u64>,
    /// The faults that were enabled.
    pub enabled: FaultSet,
}

/// The config of a run.
#[derive(Debug)]
pub struct Config {
    setup: Setup,
    limits: Limits,
    snapshot: Arc<Snapshot>,
}

impl Config {
    /// As all shards have it.
    pub fn shared(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// One that is changed, for a shard that gets something wrong.
    pub fn changed(&self, change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
        let mut snapshot = self.setup.snapshot(&self.limits);
        change(&mut snapshot);
        Arc::new(snapshot)
    }
}

/// Runs a seed with the real shards.
pub fn run(options: &Options) -> Report {
    run_with(options, |shard, config| Shard::new(shard, config.shared()))
}

/// Runs a seed with the machines that `make` makes in place of shards, as it is told.
pub fn run_with<M: Observed>(
    options: &Options,
    mut make: impl FnMut(&ShardOptions, &Config) -> M,
) -> Report {
    let mut rng = Rng::new(Seed(options.seed));
    let faults = Faults::draw(&mut rng.fork(), options.faults, options.certain);
    let faults = Rc::new(RefCell::new(faults));
    let limits = draw_limits(&mut faults.borrow_mut(), &mut rng.fork());
    let mut setup = rng.fork();
    let shards = [1, 2, 3, 4][setup.below(4) as usize];
    let targets = Setup::draw(options, shards as u16, &mut faults.borrow_mut());
    let snapshot = Arc::new(targets.snapshot(&limits));
    let config = Config {
        setup: targets,
        limits: limits.clone(),
        snapshot: Arc::clone(&snapshot),
    };
    let outages = outage::draw(&faults.borrow(), &mut setup);
    let machines = (0..shards).map(|index| {
        let shard = ShardOptions {
            id: ShardId(index as u16),
            shards: shards as u16,
            listeners: 1,
            seed: Seed(options.seed ^ (index << 48)),
        };
        make(&shard, &config)
    });
    let machines = machines.collect();
    let seed = Seed(rng.next_u64());
    let mut world = World::new(seed, machines, Rc::clone(&faults), options.keeps_trace);
    let journal: Rc<RefCell<Journal>> = Rc::default();
    let shared = Shared {
        faults,
        journal,
        delivered: world.delivered(),
        limits: Rc::new(limits),
        healthy: targets.healthy().filter(|_| options.cut.is_none()),
        setup: targets,
        snapshot,
        outages: outages.into(),
        cut: options.cut,
    };
    let checker = Rc::new(RefCell::new(Checker::new(shared.clone())));
    world.observe(Box::new(Rc::clone(&checker)));
    add_servers(&mut world, &shared, &mut rng.fork());
    let clients = add_clients(&mut world, &shared, &mut rng.fork(), options);
    add_controls(&mut world, &shared, &mut rng.fork());
    let is_left_alone = rng.chance(1, 2);
    play(&mut world, &shared, &checker, is_left_alone);
    let checker = checker.borrow();
    if let Err(violation) = checker.end(shards as usize, |shard| world.machine(shard)) {
        world.fail(violation);
    }
    let faults = shared.faults.borrow();
    let shards = shards as usize;
    Report {
        violation: world.violation().cloned(),
        trace_hash: world.trace().hash(),
        trace: world.trace().lines().to_vec(),
        events: world.events(),
        time: world.now() - Instant::ZERO,
        exchanges: checker.records(),
        complete: checker.complete(),
        clients,
        shards,
        injected: faults.injected().to_vec(),
        enabled: faults.enabled(),
    }
}

/// Runs until all clients are gone, and with `is_left_alone` some time longer; then drains.
fn play<M: Observed>(
    world: &mut World<M>,
    shared: &Shared,
    checker: &RefCell<Checker>,
    is_left_alone: bool,
) {
    while world.clients_open() > 0 && step(world, shared) {}
    if world.violation().is_some() {
        return;
    }
    if world.clients_open() > 0 {
        world.fail(Violation::new(
            "liveness",
            "clients wait, and nothing is left to happen",
        ));
        return;
    }
    if is_left_alone && !world.is_drained() {
        // Nobody asks for anything any more: all is given back, without being told to.
        while step(world, shared) {}
        if let Err(violation) = checker.borrow().idle(|shard| world.machine(shard)) {
            world.fail(violation);
            return;
        }
    }
    if !world.is_drained() {
        world.control(world.now(), Control::Drain(DRAIN_TIME));
    }
    while !world.is_drained() && step(world, shared) {}
    if world.violation().is_some() {
        return;
    }
    if !world.is_drained() {
        world.fail(Violation::new("liveness", "the drain does not end"));
    }
    while step(world, shared) {}
    if world.open() > 0 {
        world.fail(Violation::new(
            "leak",
            format!("{} things are open at the end", world.open()),
        ));
    }
}

fn step<M: Observed>(world: &mut World<M>, shared: &Shared) -> bool {
    let goes_on = world.step();
    if let Some(violation) = shared.journal.borrow_mut().violation.take() {
        world.fail(violation);
        return false;
    }
    if world.events() > EVENTS_MAX {
        world.fail(Violation::new("liveness", "events do not end"));
        return false;
    }
    goes_on
}

fn draw_limits(faults: &mut Faults, rng: &mut Rng) -> Limits {
    let mut limits = Limits::default();
    let small = rng.clone();
    if !faults.enabled().contains(Fault::SmallLimits) {
        return limits;
    }
    faults.count(Fault::SmallLimits);
    let mut rng = small;
    let mut pick = |default: usize, small: usize| {
        let drawn = small + rng.below(small as u64 * 4) as usize;
        if rng.chance(1, 2) { drawn } else { default }
    };
    let shard = &mut limits.shard;
    shard.clients_max = pick(shard.clients_max, 2);
    shard.exchanges_max = pick(shard.exchanges_max, 1);
    shard.upstreams_max = pick(shard.upstreams_max, 1);
    shard.idle_per_target_max = pick(shard.idle_per_target_max, 1);
    shard.request_bytes_max = pick(shard.request_bytes_max, 2048);
    shard.response_bytes_max = pick(shard.response_bytes_max, 1024);
    shard.bodies_bytes_max = pick(shard.bodies_bytes_max, 2048);
    shard.client_queue_bytes_max = pick(shard.client_queue_bytes_max, 128);
    shard.pipelined_bytes_max = pick(shard.pipelined_bytes_max, 256);
    shard.turn_bytes_max = pick(shard.turn_bytes_max, 64);
    shard.host_jobs_max = pick(shard.host_jobs_max, 1);
    shard.lingering_bytes_max = pick(shard.lingering_bytes_max, 512);
    shard.write_bytes_max = pick(shard.write_bytes_max, 16);
    shard.write_slices_max = pick(shard.write_slices_max, 1);
    shard.held_delta_bytes_max = pick(shard.held_delta_bytes_max, 64);
    limits.sse.event_bytes_max = pick(limits.sse.event_bytes_max, 512);
    limits.timers.commit_hold = Duration::from_millis(pick(10_000, 100) as u64);
    limits.timers.keep_alive = Duration::from_millis(pick(10_000, 100) as u64);
    limits.timers.upstream_idle = Duration::from_millis(pick(45_000, 100) as u64);
    limits.timers.client_idle = Duration::from_millis(pick(120_000, 1000) as u64);
    limits
}

fn add_servers<M: Observed>(world: &mut World<M>, shared: &Shared, rng: &mut Rng) {
    for (index, (_, _, host, _)) in PROVIDERS.into_iter().enumerate() {
        let ip = Ipv4Addr::new(192, 0, 2, 1 + index as u8);
        // The first address of many names is one where nobody is.
        let nobody = Ipv4Addr::new(192, 0, 2, 99);
        if host.parse::<IpAddr>().is_err() {
            let first = if rng.chance(1, 3) {
                Some(SocketAddr::from((nobody, 80)))
            } else {
                None
            };
            let addresses = first.into_iter().chain([SocketAddr::from((ip, 80))]);
            world.add_name(host, addresses.collect());
        }
        let shared = shared.clone();
        let seed = rng.next_u64();
        let mut rng = rng.fork();
        let address = SocketAddr::from((ip, 80));
        if shared.healthy == Some(index) {
            world.spare(address);
            world.spare(SocketAddr::from((nobody, 80)));
        }
        let server = move |now: Instant| -> Option<Box<dyn Peer>> {
            if shared.refuses(index, now) {
                return None;
            }
            let peer = ServerPeer::new(shared.clone(), index, rng.fork(), seed);
            Some(Box::new(peer))
        };
        world.add_server(address, Box::new(server));
    }
}

fn add_clients<M: Observed>(
    world: &mut World<M>,
    shared: &Shared,
    rng: &mut Rng,
    options: &Options,
) -> usize {
    // Seldom few, seldom so many that shards hand connections over.
    let count = match rng.below(16) {
        0 => 1 + rng.below(8),
        1 => 30 + rng.below(30),
        _ => 12 + rng.below(10),
    } as usize;
    let spread = [1, 2000, 20_000][rng.below(3) as usize];
    for number in 0..count {
        let at = Instant::ZERO + Duration::from_millis(rng.below(spread));
        let client = rng.fork();
        if options.clients & (1 << number) != 0 {
            let peer = ClientPeer::draw(shared.clone(), number, options.asks_max, client);
            world.add_client(at, ListenerId(0), Box::new(peer));
        }
    }
    count
}

fn add_controls<M: Observed>(world: &mut World<M>, shared: &Shared, rng: &mut Rng) {
    let mut faults = shared.faults.borrow_mut();
    let mut at = || Instant::ZERO + Duration::from_millis(rng.below(30_000));
    let (jump_at, reload_at, drain_at) = (at(), at(), at());
    let by = rng.below(20_000_000_000) as i64 - 10_000_000_000;
    let time = Duration::from_millis(rng.below(20_000));
    if faults.strikes(Fault::WallJump, rng) {
        world.control(jump_at, Control::WallJump(by));
    }
    if faults.strikes(Fault::Reload, rng) {
        let again = shared.setup.snapshot(&shared.limits);
        world.control(reload_at, Control::Reload(Arc::new(again)));
    }
    if faults.strikes(Fault::EarlyDrain, rng) {
        world.control(drain_at, Control::Drain(time));
    }
}
