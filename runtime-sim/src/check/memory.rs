//! What a shard holds, held against its limits.

use tollgate_core::base::Limits;
use tollgate_core::gateway::Usage;

use crate::faults::Fault;
use crate::script::journal::{Kind, Shared};
use crate::world::Reading;

/// What one read may bring at once, and what decoding and translating it may make of it.
const READ_BYTES_MAX: usize = 64 * 1024;
const EXPANSION: usize = 8;
/// Places of one request: at two targets, with a key of each.
const PERMITS_MAX: usize = 4;

/// Holds `usage` against what the machine has `asked` for (clients, upstreams, tickets) and against
/// `limits`; `closing` connections are on their way out.
pub(crate) fn check(
    usage: &Usage,
    asked: [usize; 3],
    closing: usize,
    limits: &Limits,
) -> Result<(), String> {
    let shard = &limits.shard;
    if [usage.clients, usage.upstreams, usage.tickets] != asked {
        return Err(format!("{usage:?}, and asked for were {asked:?}"));
    }
    if usage.clients > shard.clients_max {
        return Err(format!(
            "{} clients of {}",
            usage.clients, shard.clients_max
        ));
    }
    if usage.upstreams > shard.upstreams_max.saturating_add(closing) {
        return Err(format!(
            "{} upstreams ({closing} connections closing) of {}",
            usage.upstreams, shard.upstreams_max
        ));
    }
    if usage.bodies_bytes > shard.bodies_bytes_max {
        return Err(format!("{} bytes of bodies", usage.bodies_bytes));
    }
    if usage.exchanges > usage.clients {
        return Err(format!("more exchanges than clients: {usage:?}"));
    }
    if usage.permits > PERMITS_MAX * usage.exchanges {
        return Err(format!("more permits than requests: {usage:?}"));
    }
    if usage.tickets > shard.host_jobs_max {
        return Err(format!(
            "{} tickets of {}",
            usage.tickets, shard.host_jobs_max
        ));
    }
    let input = limits.http1.head_bytes_max + 2 * READ_BYTES_MAX + shard.pipelined_bytes_max;
    let client = input + shard.client_queue_bytes_max + EXPANSION * READ_BYTES_MAX;
    let upstream = input + shard.request_bytes_max.min(shard.bodies_bytes_max);
    let exchange = 2 * limits.sse.event_bytes_max
        + shard.held_delta_bytes_max
        + shard.response_bytes_max
        + EXPANSION * READ_BYTES_MAX;
    let bound = usage.clients * client + usage.upstreams * upstream + usage.exchanges * exchange;
    if usage.buffered_bytes > bound {
        return Err(format!(
            "{} bytes held, of {bound} at most: {usage:?}",
            usage.buffered_bytes
        ));
    }
    Ok(())
}

/// Whether a machine that reads on from an upstream may: not while its client has much to take.
pub(crate) fn is_held_back(reading: &Reading<'_>, shared: &Shared) -> Result<(), String> {
    let journal = shared.journal.borrow();
    let asked = journal.asked.get(reading.tag);
    let is_stream = asked.is_some_and(|it| it.is_stream && matches!(it.kind, Kind::Generate(_)));
    // What is not a stream is gathered whole.
    if !is_stream || shared.faults.borrow().has(&[Fault::WrongShape]) {
        return Ok(());
    }
    let queue = shared.limits.shard.client_queue_bytes_max as u64;
    // In the client's API an answer may be half as long.
    let most = 2 * (reading.taken + queue) + READ_BYTES_MAX as u64;
    if reading.read > most {
        return Err(format!(
            "an upstream is read although its client lags: {reading:?}, {most} at most"
        ));
    }
    Ok(())
}
