//! The program from the outside: started as people start it, spoken to over sockets and pipes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod drain;
mod exec;
mod reload;
mod serving;
mod support;
mod upstream;
