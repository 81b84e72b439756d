//! SIGHUP: a new config is taken over under open connections, a bad one is not.

use std::fs::OpenOptions;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

use crate::support::{Client, Folder, Program, tollgate};

const FIRST: &str = "[models]\n\"one\" = \"demo\"\n";
const SECOND: &str = "workers = 3\n[models]\n\"two\" = \"demo\"\n";
const BAD: &str = "[models]\n\"three\" = \"nobody/x\"\n";

/// Asks until the list of models has `name`: a shard takes its config over when it gets to it.
fn wait_for_model(client: &mut Client, name: &str) {
    while !client
        .get("/v1/models")
        .body
        .contains(&format!("\"{name}\""))
    {}
}

#[test]
fn a_new_config_is_taken_over_and_a_bad_one_is_not() {
    let folder = Folder::new();
    let config = folder.write("t.toml", FIRST);
    for runtime in ["monoio", "smol"] {
        folder.write("t.toml", FIRST);
        let arguments = ["--config", &config, "--runtime", runtime, "--log", "off"];
        let mut program = Program::start(&arguments);
        // One connection through it all.
        let mut client = Client::new(program.address());
        wait_for_model(&mut client, "one");

        folder.write("t.toml", BAD);
        program.signal(Signal::HUP);
        program.line("error: no provider is called `nobody`");
        program.line("t.toml:2:11");
        program.line("has faults, the config from before stays");
        wait_for_model(&mut client, "one");

        folder.write("t.toml", SECOND);
        program.signal(Signal::HUP);
        program.line("but for what needs a restart: workers");
        wait_for_model(&mut client, "two");
        assert!(!client.get("/v1/models").body.contains("\"one\""));

        folder.write("t.toml", FIRST);
        program.signal(Signal::HUP);
        assert!(program.line("SIGHUP: took over").ends_with("t.toml"));
        wait_for_model(&mut client, "one");
    }
}

#[test]
fn without_a_file_there_is_nothing_to_read() {
    let mut program = Program::start(&[]);
    let address = program.address();
    program.signal(Signal::HUP);
    program.line("SIGHUP: there is no config file");
    assert_eq!(Client::new(address).get("/health").status, 200);
}

#[test]
fn a_hangup_of_the_terminal_is_the_end() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .unwrap()
    };
    let mut command = tollgate();
    command
        .args(["--listen", "127.0.0.1:0"])
        .stdin(open())
        .stdout(open());
    let mut program = Program::spawn(&mut command);
    // The command holds what it gave to the program, and would keep the terminal in use.
    drop(command);
    let address = program.address();
    program.signal(Signal::HUP);
    program.line("SIGHUP: there is no config file");
    drop(terminal);
    assert_eq!(Client::new(address).get("/health").status, 200);
    program.signal(Signal::HUP);
    program.line("SIGHUP: draining");
    assert!(program.end().0.success());
}

#[test]
fn callers_cannot_be_taken_from_an_open_listener() {
    let folder = Folder::new();
    let config = folder.write("t.toml", "[[callers]]\nname = \"a\"\nkey = \"secret\"\n");
    let mut command = tollgate();
    command.args(["--listen", "0.0.0.0:0", "--config", &config]);
    let mut program = Program::spawn(&mut command);
    program.address();
    folder.write("t.toml", "");
    program.signal(Signal::HUP);
    program.line("can be reached from elsewhere, and there are no callers");
    program.line("the config from before stays");
}

#[test]
fn callers_cannot_go_with_the_open_listener_that_serves_on() {
    let folder = Folder::new();
    let listener = |address| format!("[[listeners]]\naddress = \"{address}\"\n");
    let callers = "[[callers]]\nname = \"a\"\nkey = \"secret\"\n";
    let config = folder.write("t.toml", &(listener("0.0.0.0:0") + callers));
    let mut program = Program::spawn(tollgate().args(["--config", &config]));
    let port = program.address().port();
    folder.write("t.toml", &listener("127.0.0.1:0"));
    program.signal(Signal::HUP);
    program.line("can be reached from elsewhere, and there are no callers");
    program.line("other listeners need a restart");
    program.line("the config from before stays");
    let mut client = Client::new(([127, 0, 0, 1], port).into());
    assert_eq!(client.get("/v1/models").status, 401);
    // With callers it may be taken over.
    folder.write("t.toml", &(listener("127.0.0.1:0") + callers));
    program.signal(Signal::HUP);
    program.line("but for what needs a restart: listeners");
}
