//! A bare byte relay: what this runtime costs before the gateway does anything.
//!
//! `relay LISTEN UPSTREAM [auto|epoll|uring]`, for instance `relay 127.0.0.1:9001 127.0.0.1:9000`.

use tollgate_smol as runtime;

#[path = "relay/machine.rs"]
mod machine;

fn main() -> std::io::Result<()> {
    machine::main()
}
