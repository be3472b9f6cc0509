//! The holder's tests: a real daemon on loopback, and the gateway's end of the wire.

mod shards;
mod stranger;
mod support;
