//! The contract of `tollgate_core::gateway::io`, held by a runtime on real sockets, on each driver
//! that the machine has.

mod toy;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::Driver;
use bytes::{Bytes, BytesMut};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tollgate_core::base::{OutBuf, Rng, Seed, ShardId};
use tollgate_core::config::Snapshot;
use tollgate_core::gateway::io::{IoFailure, PEERS, Peer, ReadClass};
use toy::{
    Event, FIRST, Listener, QUIET, Served, Toy, client, drain, echo, hear, on_each_driver, port,
    run, tell,
};

/// Tells the machines to drain, and waits until they did.
fn finish(running: Served) {
    running.control().drain(Duration::ZERO);
    running.wait().unwrap();
}

/// Lets the script go on, as [`Event::Reload`].
fn poke(running: &Served) {
    running.control().reload(&Arc::new(Snapshot::default()));
}

#[test]
fn a_thousand_connections_are_echoed() {
    on_each_driver(|driver| {
        let running = run(driver, Some(&Listener::Loopback), vec![echo(1)]);
        let name = match driver {
            Driver::Uring => "(io_uring)",
            Driver::Auto | Driver::Epoll => "(epoll)",
        };
        assert!(running.driver().ends_with(name), "{}", running.driver());
        let mut clients: Vec<TcpStream> = (0..1000).map(|_| client(&running)).collect();
        for round in 0..5u8 {
            for (id, client) in clients.iter_mut().enumerate() {
                client.write_all(&record(id, round)).unwrap();
            }
            for (id, client) in clients.iter_mut().enumerate() {
                let mut answer = [0; 600];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, record(id, round));
            }
        }
        finish(running);
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

fn record(id: usize, round: u8) -> [u8; 600] {
    let mut record = [round; 600];
    record[..8].copy_from_slice(&id.to_be_bytes());
    record
}

#[test]
fn workers_share_a_port() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let machines = (0..2u8).map(|shard| {
            let told = told.clone();
            let mut inner = echo(1);
            let toy = Toy::new(move |desk, event| {
                if let Event::Accept(FIRST, _, Ok(_)) = event {
                    told.send(shard).unwrap();
                }
                inner.script(desk, event);
            });
            toy.begin(|desk| desk.accept(FIRST))
        });
        let running = run(driver, Some(&Listener::Loopback), machines.collect());
        let clients: Vec<TcpStream> = (0..64).map(|_| client(&running)).collect();
        let by: Vec<u8> = clients.iter().map(|_| hear(&heard)).collect();
        assert!(by.contains(&0) && by.contains(&1), "{by:?}");
        drop(clients);
        finish(running);
    });
}

/// A byte relay: for each client one connection to `upstream`.
fn relay(upstream: SocketAddr) -> Toy {
    let mut other = std::collections::HashMap::new();
    let mut draining = false;
    let toy = Toy::new(move |desk, event| match event {
        Event::Accept(_, client, Ok(_)) => {
            let server = desk.connect(upstream);
            other.insert(client, server);
            other.insert(server, client);
            desk.accept(FIRST);
        }
        Event::Connect(server, Ok(())) if desk.is_open(other[&server]) => {
            desk.read(server, ReadClass::Ready);
            desk.read(other[&server], QUIET);
        }
        Event::Read(from, Ok(bytes)) if !bytes.is_empty() && desk.is_open(other[&from]) => {
            let mut out = OutBuf::new();
            // In several slices, as framing would make of it.
            for part in bytes.chunks(3000) {
                out.push(bytes.slice_ref(part));
            }
            desk.write_batch(other[&from], out.take_batch(usize::MAX, 64));
        }
        Event::Write(to, Ok(()), _) if desk.is_open(other[&to]) => {
            let buf = BytesMut::with_capacity(16 * 1024);
            desk.read_into(other[&to], ReadClass::Ready, buf);
        }
        Event::Read(conn, _) | Event::Write(conn, ..) | Event::Connect(conn, _) => {
            desk.close(conn, false);
            desk.close(other[&conn], false);
        }
        Event::Drain => {
            draining = true;
            drain(desk, 1);
            if desk.open() == 0 {
                desk.drained();
            }
        }
        Event::Close(_) if draining && desk.open() == 0 => desk.drained(),
        _ => (),
    });
    toy.begin(|desk| desk.accept(FIRST))
}

#[test]
fn large_bodies_pass_a_relay_unchanged() {
    const LENGTH: usize = 3_000_000;
    on_each_driver(|driver| {
        let server = run(driver, Some(&Listener::Loopback), vec![echo(1)]);
        let running = run(
            driver,
            Some(&Listener::Loopback),
            vec![relay(port(&server))],
        );
        let threads: Vec<_> = (0..4usize)
            .map(|seed| {
                let mut client = client(&running);
                let mut reader = client.try_clone().unwrap();
                let body: Vec<u8> = (0..LENGTH).map(|at| (at * (seed + 3) / 7) as u8).collect();
                let sent = body.clone();
                let writer = std::thread::spawn(move || client.write_all(&sent).unwrap());
                let mut answer = vec![0; LENGTH];
                std::thread::spawn(move || {
                    reader.read_exact(&mut answer).unwrap();
                    writer.join().unwrap();
                    assert!(answer == body);
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        finish(running);
        finish(server);
    });
}

#[test]
fn clients_that_leave_at_any_time_leave_nothing() {
    on_each_driver(|driver| {
        let server = run(driver, Some(&Listener::Loopback), vec![echo(1), echo(1)]);
        let relays = (0..2).map(|_| relay(port(&server))).collect();
        let running = run(driver, Some(&Listener::Loopback), relays);
        let address = port(&running);
        let threads: Vec<_> = (0..4u64)
            .map(|seed| {
                let mut rng = Rng::new(Seed(seed));
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        let mut client = TcpStream::connect(address).unwrap();
                        let sent = vec![b'x'; 1 + rng.below(100_000) as usize];
                        let patience = Some(Duration::from_secs(20));
                        client.set_read_timeout(patience).unwrap();
                        let nonblocking = rng.chance(1, 2);
                        client.set_nonblocking(nonblocking).unwrap();
                        let _ = client.write(&sent);
                        let read = client.read(&mut [0; 5000]);
                        assert!(nonblocking || read.is_ok(), "{read:?}");
                        if rng.chance(1, 3) {
                            sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        finish(running);
        finish(server);
    });
}

/// The sockets of this process whose far end is `peer`.
fn sockets_to(peer: SocketAddr) -> impl Iterator<Item = rustix::fd::BorrowedFd<'static>> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers: Vec<i32> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let borrow = |number| {
        // SAFETY: at worst it is closed meanwhile, and the calls made on it fail.
        unsafe { rustix::fd::BorrowedFd::borrow_raw(number) }
    };
    numbers.into_iter().map(borrow).filter(move |fd| {
        let far = rustix::net::getpeername(fd).ok().flatten();
        far.and_then(|far| SocketAddr::try_from(far).ok()) == Some(peer)
    })
}

#[test]
fn small_writes_to_an_upstream_are_not_held_back() {
    on_each_driver(|driver| {
        let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = upstream.local_addr().unwrap();
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Connect(_, result) => told.send(result).unwrap(),
            Event::Reload => {
                let names = desk.names();
                names.into_iter().for_each(|conn| desk.close(conn, false));
            }
            Event::Close(_) => desk.drained(),
            other => panic!("{other:?}"),
        });
        let running = run(
            driver,
            None,
            vec![toy.begin(|desk| {
                desk.connect(address);
            })],
        );
        assert_eq!(hear(&heard), Ok(()));
        let ours: Vec<_> = sockets_to(address).collect();
        assert_eq!(ours.len(), 1);
        assert_eq!(sockopt::tcp_nodelay(ours[0]), Ok(true));
        poke(&running);
        running.wait().unwrap();
    });
}

#[test]
fn nobody_listens_there() {
    on_each_driver(|driver| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Connect(conn, result) => {
                told.send(result).unwrap();
                desk.close(conn, false);
            }
            Event::Close(_) => desk.drained(),
            other => panic!("{other:?}"),
        });
        let running = run(
            driver,
            None,
            vec![toy.begin(|desk| {
                desk.connect(address);
            })],
        );
        assert_eq!(hear(&heard), Err(IoFailure::Refused));
        running.wait().unwrap();
    });
}

/// Where connecting takes for ever: a listener whose queue is full.
fn black_hole() -> (Vec<rustix::fd::OwnedFd>, SocketAddr) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let new =
        || rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let listener = new();
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&listener).unwrap()).unwrap();
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let socket = new();
        let _ = rustix::net::connect(&socket, &address);
        sockets.push(socket);
    }
    (sockets, address)
}

#[test]
fn close_ends_a_connect_that_hangs() {
    on_each_driver(|driver| {
        for abort in [false, true] {
            let (sockets, address) = black_hole();
            let (told, heard) = tell();
            let toy = Toy::new(move |desk, event| match event {
                Event::Reload => {
                    told.send(Ok(())).unwrap();
                    desk.names()
                        .into_iter()
                        .for_each(|conn| desk.close(conn, abort));
                }
                Event::Connect(_, result) => told.send(result).unwrap(),
                Event::Close(_) => desk.drained(),
                other => panic!("{other:?}"),
            });
            let running = run(
                driver,
                None,
                vec![toy.begin(|desk| {
                    desk.connect(address);
                })],
            );
            poke(&running);
            assert_eq!(hear(&heard), Ok(()), "it should hang");
            assert_eq!(hear(&heard), Err(IoFailure::Canceled));
            running.wait().unwrap();
            drop(sockets);
        }
    });
}

#[test]
fn close_ends_a_read() {
    on_each_driver(|driver| {
        for (class, abort) in [
            (QUIET, false),
            (QUIET, true),
            (ReadClass::Ready, false),
            (ReadClass::Ready, true),
        ] {
            let (told, heard) = tell();
            let toy = Toy::new(move |desk, event| match event {
                Event::Accept(_, conn, Ok(Peer::Tcp(_))) => {
                    desk.write(conn, Bytes::from_static(b"!"));
                    desk.read(conn, class);
                }
                Event::Reload => desk
                    .names()
                    .into_iter()
                    .for_each(|conn| desk.close(conn, abort)),
                Event::Write(_, result, _) => assert_eq!(result, Ok(())),
                Event::Read(_, result) => told.send(result).unwrap(),
                Event::Close(_) => desk.drained(),
                other => panic!("{other:?}"),
            });
            let toy = toy.begin(|desk| desk.accept(FIRST));
            let running = run(driver, Some(&Listener::Loopback), vec![toy]);
            let mut client = client(&running);
            client.read_exact(&mut [0]).unwrap();
            poke(&running);
            assert_eq!(hear(&heard), Err(IoFailure::Canceled));
            running.wait().unwrap();
            let end = client.read(&mut [0]);
            if abort {
                assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            } else {
                assert_eq!(end.unwrap(), 0);
            }
        }
    });
}

#[test]
fn close_ends_a_write_to_a_stalled_reader() {
    on_each_driver(|driver| {
        for abort in [false, true] {
            let (told, heard) = tell();
            let block = Bytes::from(vec![b'x'; 64 * 1024]);
            let mut written = 0;
            let toy = Toy::new(move |desk, event| match event {
                Event::Accept(_, conn, Ok(_)) => desk.write(conn, block.clone()),
                Event::Write(conn, Ok(()), _) => {
                    written += block.len();
                    // No write ends for so long: the reader stalls.
                    desk.timeout = Some(desk.now.mono + Duration::from_millis(100));
                    desk.write(conn, block.clone());
                }
                Event::Tick if desk.timeout.is_some_and(|due| due <= desk.now.mono) => {
                    desk.timeout = None;
                    desk.names()
                        .into_iter()
                        .for_each(|conn| desk.close(conn, abort));
                }
                Event::Tick => (),
                Event::Write(_, result, left) => {
                    written += block.len() - left;
                    told.send((result, written)).unwrap();
                }
                Event::Close(_) => desk.drained(),
                other => panic!("{other:?}"),
            });
            let toy = toy.begin(|desk| desk.accept(FIRST));
            let running = run(driver, Some(&Listener::Loopback), vec![toy]);
            let mut client = client(&running);
            let (result, written) = hear(&heard);
            assert_eq!(result, Err(IoFailure::Canceled));
            running.wait().unwrap();
            let mut all = Vec::new();
            let read = client.read_to_end(&mut all);
            if abort {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
            } else {
                assert_eq!(read.unwrap(), written);
            }
        }
    });
}

#[test]
fn shutdown_sends_fin_after_what_was_written() {
    const LENGTH: usize = 8_000_000;
    on_each_driver(|driver| {
        let toy = Toy::new(|desk, event| match event {
            Event::Accept(_, conn, Ok(_)) => {
                desk.write(conn, Bytes::from(vec![b'x'; LENGTH]));
                desk.read(conn, QUIET);
            }
            Event::Write(conn, result, _) => {
                assert_eq!(result, Ok(()));
                desk.shutdown(conn);
            }
            Event::Read(conn, result) => {
                assert_eq!(result.unwrap(), "after your FIN");
                desk.close(conn, false);
            }
            Event::Shutdown(_, result) => assert_eq!(result, Ok(())),
            Event::Close(_) => desk.drained(),
            other => panic!("{other:?}"),
        });
        let toy = toy.begin(|desk| desk.accept(FIRST));
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        let mut client = client(&running);
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), LENGTH);
        client.write_all(b"after your FIN").unwrap();
        running.wait().unwrap();
    });
}

#[test]
fn what_the_peer_does_is_told() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Accept(_, conn, Ok(_)) => {
                desk.read(conn, ReadClass::Ready);
                desk.accept(FIRST);
            }
            Event::Read(conn, result) => {
                told.send(result).unwrap();
                desk.close(conn, false);
            }
            Event::Drain => desk.drained(),
            _ => (),
        });
        let toy = toy.begin(|desk| desk.accept(FIRST));
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        drop(client(&running));
        assert_eq!(hear(&heard), Ok(Bytes::new()));
        let reset = client(&running);
        sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
        drop(reset);
        assert_eq!(hear(&heard), Err(IoFailure::Reset));
        finish(running);
    });
}

#[test]
fn reads_append_and_quiet_ones_make_their_room() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Accept(_, conn, Ok(_)) => {
                desk.read_into(
                    conn,
                    ReadClass::Quiet { room: 9000 },
                    BytesMut::from(&b"head"[..]),
                );
            }
            Event::Read(conn, Ok(bytes)) if !bytes.is_empty() => {
                told.send(bytes).unwrap();
                let mut buf = BytesMut::with_capacity(64);
                buf.extend_from_slice(b"kept");
                desk.read_into(conn, ReadClass::Ready, buf);
            }
            Event::Read(conn, _) => desk.close(conn, false),
            Event::Close(_) => desk.drained(),
            other => panic!("{other:?}"),
        });
        let toy = toy.begin(|desk| desk.accept(FIRST));
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        let mut client = client(&running);
        let sent: Vec<u8> = (0..8000u32).map(|at| (at / 5) as u8).collect();
        client.write_all(&sent).unwrap();
        let mut got = hear(&heard).to_vec();
        while got.len() < sent.len() {
            let bytes = hear(&heard);
            assert!(got.len() > 256 || bytes.len() <= 9000);
            got.extend_from_slice(&bytes);
        }
        assert!(got == sent);
        drop(client);
        running.wait().unwrap();
    });
}

#[test]
fn a_tick_comes_when_it_is_due() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let mut ticks = 0;
        let toy = Toy::new(move |desk, event| {
            let due = desk.timeout.is_some_and(|due| due <= desk.now.mono);
            match event {
                // A far one first, so that the timer has to be moved.
                Event::Reload => {
                    desk.timeout = Some(desk.now.mono + Duration::from_millis(20));
                }
                Event::Tick if due => {
                    ticks += 1;
                    // Work waits: a tick is due at once, again and again.
                    desk.timeout = (ticks < 1000).then_some(desk.now.mono);
                    if ticks == 1000 {
                        told.send(()).unwrap();
                    }
                }
                Event::Drain => desk.drained(),
                _ => (),
            }
        });
        let mut toy = toy;
        toy.desk.timeout = Some(tollgate_core::base::Instant::FAR);
        let running = run(driver, None, vec![toy]);
        poke(&running);
        hear(&heard);
        finish(running);
    });
}

#[test]
fn unlisten_ends_the_accept_and_the_listener() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Reload => desk.unlisten(FIRST),
            Event::Accept(_, _, result) => assert_eq!(result, Err(IoFailure::Canceled)),
            Event::Unlisten => told.send(()).unwrap(),
            Event::Drain => desk.drained(),
            other => panic!("{other:?}"),
        });
        let toy = toy.begin(|desk| desk.accept(FIRST));
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        poke(&running);
        hear(&heard);
        let refused = TcpStream::connect(port(&running)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        finish(running);
    });
}

#[test]
fn the_end_of_descriptors_is_told() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Reload => desk.accept(FIRST),
            Event::Accept(_, conn, result) => {
                told.send(result.map(|_| ())).unwrap();
                if result.is_ok() {
                    desk.close(conn, false);
                }
            }
            Event::Drain => desk.drained(),
            _ => (),
        });
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        let client = client(&running);
        let limit = getrlimit(Resource::Nofile);
        let highest = std::fs::File::open("/dev/null").unwrap();
        let current = Some(rustix::fd::AsRawFd::as_raw_fd(&highest) as u64);
        drop(highest);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
        poke(&running);
        let result = hear(&heard);
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(result, Err(IoFailure::DescriptorsExhausted));
        poke(&running);
        assert_eq!(hear(&heard), Ok(()));
        drop(client);
        finish(running);
    });
}

#[test]
fn no_connection_is_taken_unasked() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let mut asked = false;
        let toy = Toy::new(move |desk, event| match event {
            Event::Reload => {
                asked = true;
                desk.accept(FIRST);
                told.send(()).unwrap();
            }
            Event::Accept(_, conn, result) => {
                assert!(asked && result.is_ok());
                desk.close(conn, false);
            }
            Event::Close(_) => told.send(()).unwrap(),
            Event::Drain => desk.drained(),
            other => panic!("{other:?}"),
        });
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        let mut clients: Vec<TcpStream> = (0..3).map(|_| client(&running)).collect();
        poke(&running);
        hear(&heard);
        hear(&heard);
        assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
        clients[1].set_nonblocking(true).unwrap();
        assert_eq!(
            clients[1].read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        finish(running);
    });
}

#[test]
fn a_connection_is_handed_to_the_other_worker() {
    on_each_driver(|driver| {
        let giver = Toy::new(|desk, event| match event {
            Event::Accept(_, conn, Ok(_)) => desk.hand_off(conn, 1),
            Event::HandOff(_) => desk.accept(FIRST),
            Event::Drain => {
                desk.unlisten(FIRST);
                desk.drained();
            }
            _ => (),
        });
        let mut inner = echo(0);
        let taker = Toy::new(move |desk, event| {
            if let Event::Accept(listener, _, Ok(Peer::Tcp(_))) = event {
                assert_eq!(listener, PEERS);
            }
            inner.script(desk, event);
        });
        let machines = vec![
            giver.begin(|desk| desk.accept(FIRST)),
            taker.begin(|desk| desk.accept(PEERS)),
        ];
        let place = path("hand-off");
        let listener = Some(Listener::Unix(place.clone()));
        // A Unix socket is listened on by worker 0 alone, so all of its connections come this way.
        let running = run(driver, listener.as_ref(), machines);
        let mut peer = UnixStream::connect(&place).unwrap();
        std::fs::remove_file(place).unwrap();
        peer.write_all(b"unix").unwrap();
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"unix");
        finish(running);
    });
}

#[test]
fn letters_of_one_sender_arrive_in_order() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let sender = Toy::new(|desk, event| {
            if let Event::Drain = event {
                desk.drained();
            }
        });
        let sender = sender.begin(|desk| (0..1000).for_each(|at| desk.send(1, at)));
        let receiver = Toy::new(move |desk, event| match event {
            Event::Message(from, at) => {
                assert_eq!(from, ShardId(0));
                told.send(at).unwrap();
            }
            Event::Drain => desk.drained(),
            _ => (),
        });
        let running = run(driver, None, vec![sender, receiver]);
        for at in 0..1000 {
            assert_eq!(hear(&heard), at);
        }
        finish(running);
    });
}

#[test]
fn the_host_answers_from_its_threads() {
    on_each_driver(|driver| {
        let (told, heard) = tell();
        let toy = Toy::new(move |desk, event| match event {
            Event::Resolve(addresses) => {
                told.send(addresses).unwrap();
                desk.work();
            }
            Event::Host => desk.drained(),
            other => panic!("{other:?}"),
        });
        let running = run(
            driver,
            None,
            vec![toy.begin(|desk| desk.resolve("api.example"))],
        );
        assert_eq!(hear(&heard), vec![SocketAddr::from(([10, 0, 0, 1], 443))]);
        running.wait().unwrap();
    });
}

fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("tollgate-{name}-{}", std::process::id()))
}

#[test]
fn unix_sockets_work() {
    on_each_driver(|driver| {
        let path = path("unix");
        let listener = Some(Listener::Unix(path.clone()));
        let running = run(driver, listener.as_ref(), vec![echo(1), echo(1)]);
        let mut peer = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        peer.write_all(&[7; 100_000]).unwrap();
        peer.read_exact(&mut [0; 100_000]).unwrap();
        finish(running);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_drained_worker_ends_whatever_is_left() {
    on_each_driver(|driver| {
        let toy = Toy::new(|desk, event| match event {
            Event::Accept(_, conn, Ok(_)) => {
                desk.read(conn, QUIET);
                desk.accept(FIRST);
            }
            // It forgot its connections and its listener.
            Event::Drain => desk.drained(),
            other => panic!("{other:?}"),
        });
        let toy = toy.begin(|desk| desk.accept(FIRST));
        let running = run(driver, Some(&Listener::Loopback), vec![toy]);
        let mut clients: Vec<TcpStream> = (0..10).map(|_| client(&running)).collect();
        finish(running);
        for client in &mut clients {
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        }
    });
}
