//! Every bound in the program, with its unit in its name. Hitting one is an ordinary outcome with a
//! clear error, never a panic, and never unbounded growth.

use core::time::Duration;

/// The bounds of one shard. The defaults fit a machine with a few GiB of memory; the config may set
/// each of them.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Bounds of HTTP/1 messages.
    pub http1: Http1Limits,
    /// Bounds of event streams.
    pub sse: SseLimits,
    /// Bounds of JSON documents.
    pub json: JsonLimits,
    /// Bounds of connections, exchanges and the memory they hold.
    pub shard: ShardLimits,
    /// How long each phase may take.
    pub timers: TimerLimits,
}

/// Bounds of HTTP/1 messages (RFC 9112).
#[derive(Clone, Debug)]
pub struct Http1Limits {
    /// Start line and fields together; over it a request is answered with 431.
    pub head_bytes_max: usize,
    /// Length of the request target; over it 414 (RFC 9110 §4.1 recommends at least 8000).
    pub target_bytes_max: usize,
    /// Number of field lines; over it 431.
    pub fields_max: usize,
    /// Extensions of one chunk, which are read and dropped (RFC 9112 §7.1.1).
    pub chunk_extension_bytes_max: usize,
    /// Trailer section (RFC 9112 §7.1.2), in bytes.
    pub trailer_bytes_max: usize,
    /// Interim (1xx) responses that an upstream may send before the final one.
    pub interim_responses_max: usize,
}

impl Default for Http1Limits {
    fn default() -> Http1Limits {
        Http1Limits {
            head_bytes_max: 64 * 1024,
            target_bytes_max: 8 * 1024,
            fields_max: 128,
            chunk_extension_bytes_max: 1024,
            trailer_bytes_max: 8 * 1024,
            interim_responses_max: 8,
        }
    }
}

/// Bounds of event streams.
#[derive(Clone, Debug)]
pub struct SseLimits {
    /// Bytes of one event, all its lines together. Image and audio deltas reach a few MiB.
    pub event_bytes_max: usize,
}

impl Default for SseLimits {
    fn default() -> SseLimits {
        SseLimits {
            event_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// Bounds of JSON documents.
#[derive(Clone, Debug)]
pub struct JsonLimits {
    /// How deep arrays and objects may nest.
    pub depth_max: usize,
    /// Values in one document, keys included; bounds the parser's table at 16 bytes a value.
    pub values_max: usize,
}

impl Default for JsonLimits {
    fn default() -> JsonLimits {
        JsonLimits {
            depth_max: 128,
            values_max: 4 * 1024 * 1024,
        }
    }
}

/// Bounds of one shard's tables and buffers.
#[derive(Clone, Debug)]
pub struct ShardLimits {
    /// Client connections; at the limit no further `Accept` is issued.
    pub clients_max: usize,
    /// Requests being answered at once; further ones get 503 (529 to a Messages client).
    pub exchanges_max: usize,
    /// Connections to upstreams, idle ones included.
    pub upstreams_max: usize,
    /// Idle connections kept to one upstream address.
    pub idle_per_target_max: usize,
    /// A request body, as declared or as received, after decompression too; over it 413.
    pub request_bytes_max: usize,
    /// A response body that must be held whole: not streamed, or an error.
    pub response_bytes_max: usize,
    /// All request bodies of the shard together; when it is spent, further requests get 503.
    pub bodies_bytes_max: usize,
    /// Response bytes queued to one client before its upstream is no longer read.
    pub client_queue_bytes_max: usize,
    /// Bytes of later requests of a pipelining client that are read while one is answered.
    pub pipelined_bytes_max: usize,
    /// Bytes worked on in one turn before other work gets its chance.
    pub turn_bytes_max: usize,
    /// Work in flight at the host (names to resolve, jobs).
    pub host_jobs_max: usize,
    /// TLS handshakes that advance at once.
    pub handshakes_max: usize,
    /// Bytes read and dropped after a request was refused, before its connection is closed. The
    /// time for it (`linger`) is the nearer bound: clients that write a body without looking for an
    /// answer lose it to the reset that ends their reading.
    pub lingering_bytes_max: usize,
    /// Bytes in one write operation.
    pub write_bytes_max: usize,
    /// Slices in one write operation.
    pub write_slices_max: usize,
    /// Broken events in a row after which a stream counts as broken.
    pub broken_events_max: usize,
    /// Bytes of tool-call deltas held back while another block of the same answer is open.
    pub held_delta_bytes_max: usize,
    /// Models that the config does not name, and of which is known how they fare. With more, those
    /// that were asked least lately are forgotten.
    pub models_max: usize,
}

impl Default for ShardLimits {
    fn default() -> ShardLimits {
        ShardLimits {
            clients_max: 16 * 1024,
            exchanges_max: 16 * 1024,
            upstreams_max: 16 * 1024,
            idle_per_target_max: 256,
            request_bytes_max: 32 * 1024 * 1024,
            response_bytes_max: 64 * 1024 * 1024,
            bodies_bytes_max: 512 * 1024 * 1024,
            client_queue_bytes_max: 64 * 1024,
            pipelined_bytes_max: 64 * 1024,
            turn_bytes_max: 256 * 1024,
            host_jobs_max: 1024,
            handshakes_max: 64,
            lingering_bytes_max: 256 * 1024 * 1024,
            write_bytes_max: 64 * 1024,
            write_slices_max: 64,
            broken_events_max: 5,
            held_delta_bytes_max: 4 * 1024 * 1024,
            models_max: 512,
        }
    }
}

/// How long each phase may take at an upstream. A provider, a model or a target may have its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamTimers {
    /// Resolving and connecting.
    pub connect: Duration,
    /// The TLS handshake. For as long, too, its turn is waited for.
    pub tls: Duration,
    /// From the request's last byte to the first real content of the answer.
    pub first_content: Duration,
    /// The least that is waited for the first content of a stream. While another target can
    /// answer, one is left that takes three times as long as it takes as a rule; but no less than
    /// this, and a second for every 2,000 tokens of the prompt.
    pub first_content_min: Duration,
    /// Between two data events of a stream (comments and pings do not count).
    pub idle: Duration,
    /// A whole answer that is not streamed.
    pub total: Duration,
    /// A whole streamed answer; off by default.
    pub total_stream: Option<Duration>,
}

/// How long each phase may take.
#[derive(Clone, Debug)]
pub struct TimerLimits {
    /// From the first byte of a request's head to its last.
    pub request_head: Duration,
    /// Between two reads of a request's body.
    pub request_body_idle: Duration,
    /// From the end of a request's head to the end of its body, however steadily it drips.
    pub request_body: Duration,
    /// An open client connection without a request.
    pub client_idle: Duration,
    /// One write to a client; a client that takes nothing for so long is gone.
    pub client_write: Duration,
    /// How long each phase may take at an upstream.
    pub upstream: UpstreamTimers,
    /// Silence towards the client after which a keep-alive is sent in its stream.
    pub keep_alive: Duration,
    /// How long a streaming client's headers are held back for the first content, so that an early
    /// error can still become a status; afterwards headers and keep-alives go out.
    pub commit_hold: Duration,
    /// An idle upstream connection; below the 60 s that common servers keep theirs.
    pub upstream_idle: Duration,
    /// Reading and dropping the rest of a refused request.
    pub linger: Duration,
    /// How long answers may go on after the gateway was told to end.
    pub drain: Duration,
}

impl Default for TimerLimits {
    fn default() -> TimerLimits {
        TimerLimits {
            request_head: Duration::from_secs(30),
            request_body_idle: Duration::from_secs(60),
            request_body: Duration::from_secs(600),
            client_idle: Duration::from_secs(120),
            client_write: Duration::from_secs(60),
            upstream: UpstreamTimers::default(),
            keep_alive: Duration::from_secs(10),
            commit_hold: Duration::from_secs(10),
            upstream_idle: Duration::from_secs(45),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for UpstreamTimers {
    fn default() -> UpstreamTimers {
        UpstreamTimers {
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            first_content: Duration::from_secs(300),
            first_content_min: Duration::from_secs(12),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(600),
            total_stream: None,
        }
    }
}
