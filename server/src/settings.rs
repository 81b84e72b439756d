//! [`Settings`]: command line and config together, as they are served.

use std::env;
use std::path::PathBuf;
use std::thread;

use tollgate_core::config::{AccessLog, ListenAddress, Loaded, RuntimeChoice, Snapshot};

use crate::cli::ServeArgs;
use crate::environment;
use crate::fault::Fault;

/// Names the config file where the command line does not.
const CONFIG_VARIABLE: &str = "TOLLGATE_CONFIG";

/// What is served, and how.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The config file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// What the shards work with.
    pub(crate) snapshot: Snapshot,
    /// Where to listen; at least one.
    pub(crate) listeners: Vec<ListenAddress>,
    /// Which runtime.
    pub(crate) runtime: RuntimeChoice,
    /// Whether anything but io_uring is an error.
    pub(crate) requires_io_uring: bool,
    /// How many threads.
    pub(crate) workers: usize,
    /// How requests are logged.
    pub(crate) log: AccessLog,
    /// What was found in the environment.
    pub(crate) notes: Vec<String>,
    /// What is probably not meant.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Reads the config that `args` name, and lays `args` over it.
    ///
    /// # Errors
    /// The config cannot be read or has faults, or the two together cannot be served.
    pub(crate) fn load(args: &ServeArgs) -> Result<Settings, Fault> {
        let variable = || env::var_os(CONFIG_VARIABLE).filter(|value| !value.is_empty());
        let file = args
            .config
            .clone()
            .or_else(|| variable().map(PathBuf::from));
        let loaded = environment::load(file.as_deref())?;
        let settings = Settings::new(args, file, loaded);
        settings.check()?;
        Ok(settings)
    }

    /// Whether a gateway that listens as `self` says may go on with `later`: no restart, no other
    /// listeners.
    ///
    /// # Errors
    /// It would be open to everybody from then on.
    pub(crate) fn check_later(&self, later: &Settings) -> Result<(), String> {
        match check_callers(&self.listeners, &later.snapshot) {
            Err(error) if self.listeners != later.listeners => Err(format!(
                "{error}\n  = help: other listeners need a restart; until then these serve on"
            )),
            result => result,
        }
    }

    /// What of `self` a running gateway cannot take over from `later` without a restart.
    pub(crate) fn fixed_differences(&self, later: &Settings) -> Vec<&'static str> {
        [
            ("listeners", self.listeners != later.listeners),
            ("runtime", self.runtime != later.runtime),
            ("workers", self.workers != later.workers),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    fn new(args: &ServeArgs, file: Option<PathBuf>, loaded: Loaded) -> Settings {
        let listeners = match args.listen.as_slice() {
            [] => loaded
                .listeners
                .into_iter()
                .map(|listener| listener.address)
                .collect(),
            addresses => addresses.to_vec(),
        };
        let runtime = args.runtime.map(|runtime| runtime.0).or(loaded.runtime);
        let workers = args.workers.map(usize::from).or(loaded.workers);
        Settings {
            file,
            snapshot: loaded.snapshot,
            listeners,
            runtime: runtime.unwrap_or_default(),
            requires_io_uring: args.require_io_uring,
            workers: workers.unwrap_or_else(processors),
            log: args.log.map_or(loaded.access_log, |log| log.0),
            notes: loaded.notes,
            warnings: loaded.warnings,
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.requires_io_uring && self.runtime == RuntimeChoice::Smol {
            return Err(
                "smol knows no io_uring: drop --require-io-uring, or --runtime smol".into(),
            );
        }
        // The config checks its own listeners, but not those of the command line.
        check_callers(&self.listeners, &self.snapshot)
    }
}

/// Where others than this machine's users get in, there must be a way to tell who they are.
fn check_callers(listeners: &[ListenAddress], snapshot: &Snapshot) -> Result<(), String> {
    let open = listeners.iter().find(|address| !address.is_local());
    match open {
        Some(address) if snapshot.callers.is_empty() => Err(format!(
            "{address} can be reached from elsewhere, and there are no callers: add \
             `[[callers]]` to the config, or listen on 127.0.0.1"
        )),
        _ => Ok(()),
    }
}

/// How many threads this process may use at once.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
