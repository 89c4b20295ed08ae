//! A wire that somebody listens in on: all datagrams between members go through it, are kept, and
//! can be sent again as if they came from whom they came from.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) datagram: Vec<u8>,
}

/// Each member has a front here, which is where the others know it.
pub(crate) struct Wire {
    fronts: Vec<UdpSocket>,
    /// Where each really listens.
    members: Mutex<Vec<Option<SocketAddr>>>,
    tape: Mutex<Vec<Recorded>>,
    ended: AtomicBool,
}

impl Wire {
    pub(crate) fn between(count: usize) -> Arc<Self> {
        let front = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(LOOK)).unwrap();
            socket
        };
        let wire = Arc::new(Self {
            fronts: (0..count).map(front).collect(),
            members: Mutex::new(vec![None; count]),
            tape: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        for to in 0..count {
            let wire = Arc::clone(&wire);
            thread::spawn(move || wire.carry(to));
        }
        wire
    }

    pub(crate) fn front(&self, member: usize) -> SocketAddr {
        self.fronts[member].local_addr().unwrap()
    }

    pub(crate) fn set(&self, member: usize, address: SocketAddr) {
        self.members.lock().unwrap()[member] = Some(address);
    }

    /// All that went over it so far.
    pub(crate) fn tape(&self) -> Vec<Recorded> {
        self.tape.lock().unwrap().clone()
    }

    pub(crate) fn play(&self, recorded: &Recorded) {
        if let Some(to) = self.members.lock().unwrap()[recorded.to] {
            self.fronts[recorded.from].send_to(&recorded.datagram, to).unwrap();
        }
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn carry(&self, to: usize) {
        let mut buffer = [0; 2048];
        while !self.ended.load(Ordering::Relaxed) {
            // An error is that nothing came for a while, or what a member that ended leaves behind.
            let Ok((bytes, sender)) = self.fronts[to].recv_from(&mut buffer) else { continue };
            let from = self.members.lock().unwrap().iter().position(|one| *one == Some(sender));
            let Some(from) = from else { continue };
            let recorded = Recorded { from, to, datagram: buffer[..bytes].to_vec() };
            self.play(&recorded);
            self.tape.lock().unwrap().push(recorded);
        }
    }
}
