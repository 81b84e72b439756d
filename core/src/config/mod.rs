//! The config: from text to typed tables to a checked [`Snapshot`].

mod snapshot;

pub use snapshot::{
    Authorization, BaseUrl, Caller, Credentials, ListedModel, Pattern, Provider, Proxy, Resolved,
    Route, RouteTarget, Secret, Snapshot, Upstream, UpstreamTimers,
};
