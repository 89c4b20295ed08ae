//! Listening sockets that were there before this process: kept by the service manager over a
//! restart, or opened by one of its socket units. Which of them are used is a rule, and pure.

use std::net::{SocketAddr, TcpListener};

/// The name of sockets that the agent has given into keeping. All others are a socket unit's.
pub const KEPT: &str = "admin";

#[derive(Debug)]
pub struct Handed {
    pub name: String,
    pub address: SocketAddr,
    pub listener: TcpListener,
}

impl Handed {
    /// `None` of a socket that has no address.
    pub(super) fn new(name: &str, listener: TcpListener) -> Option<Self> {
        let address = listener.local_addr().ok()?;
        Some(Self { name: name.to_owned(), address, listener })
    }

    pub fn is_kept(&self) -> bool {
        self.name == KEPT
    }
}

/// What is to be done about sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allotment {
    /// Listened on; by their places among those that were handed over.
    pub taken: Vec<usize>,
    /// Closed, and kept no longer.
    pub let_go: Vec<usize>,
    /// Opened by this process.
    pub bound: Vec<SocketAddr>,
    /// A socket unit has the word, and says something else than the configuration.
    pub is_overruled: bool,
}

impl Allotment {
    /// `wanted` is what the configuration says. A socket unit's addresses hold in its place: who has
    /// enabled one wants systemd to have the port. A kept socket serves where its address is wanted
    /// still; what is left over is opened anew.
    pub fn of(handed: &[Handed], wanted: &[SocketAddr]) -> Self {
        let named: Vec<_> = handed.iter().map(|one| (one.is_kept(), one.address)).collect();
        allot(&named, wanted)
    }
}

fn allot(handed: &[(bool, SocketAddr)], wanted: &[SocketAddr]) -> Allotment {
    let has_unit = handed.iter().any(|(is_kept, _)| !is_kept);
    let mut open = wanted.to_vec();
    let mut allotment = Allotment::default();
    for (place, (is_kept, address)) in handed.iter().enumerate() {
        let is_wanted = open.iter().position(|one| one == address).map(|at| open.swap_remove(at));
        let is_taken = if has_unit { !is_kept } else { is_wanted.is_some() };
        let list = if is_taken { &mut allotment.taken } else { &mut allotment.let_go };
        list.push(place);
    }
    if has_unit {
        let unit = || handed.iter().filter(|(is_kept, _)| !is_kept).map(|(_, address)| address);
        allotment.is_overruled = unit().any(|address| !wanted.contains(address))
            || wanted.iter().any(|address| !unit().any(|one| one == address));
    } else {
        open.sort_unstable();
        allotment.bound = open;
    }
    allotment
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1:9733";
    const HERE_6: &str = "[::1]:9733";
    const ELSEWHERE: &str = "127.0.0.1:9800";

    #[derive(Debug, PartialEq)]
    struct Expected(Vec<usize>, Vec<usize>, Vec<&'static str>, bool);

    fn check(handed: &[(&str, &str)], wanted: &[&str], expected: &Expected) {
        let handed: Vec<_> =
            handed.iter().map(|(name, at)| (*name == KEPT, at.parse().unwrap())).collect();
        let wanted: Vec<_> = wanted.iter().map(|at| at.parse().unwrap()).collect();
        let Expected(taken, let_go, bound, is_overruled) = expected;
        let expected = Allotment {
            taken: taken.clone(),
            let_go: let_go.clone(),
            bound: bound.iter().map(|at| at.parse().unwrap()).collect(),
            is_overruled: *is_overruled,
        };
        assert_eq!(allot(&handed, &wanted), expected, "{handed:?} for {wanted:?}");
    }

    #[test]
    fn each_wanted_address_has_one_socket_and_a_unit_has_the_word() {
        let unit = "starling.socket";
        let first = || vec![0];
        // Nothing is handed over: all is opened.
        check(&[], &[HERE], &Expected(vec![], vec![], vec![HERE], false));
        // After a restart: the kept ones, and those of `localhost` are two.
        check(&[(KEPT, HERE)], &[HERE], &Expected(first(), vec![], vec![], false));
        check(
            &[(KEPT, HERE_6), (KEPT, HERE)],
            &[HERE, HERE_6],
            &Expected(vec![0, 1], vec![], vec![], false),
        );
        check(&[(KEPT, HERE)], &[HERE, HERE_6], &Expected(first(), vec![], vec![HERE_6], false));
        // The address is another one now, or one of two is gone.
        check(&[(KEPT, HERE)], &[ELSEWHERE], &Expected(vec![], first(), vec![ELSEWHERE], false));
        check(&[(KEPT, HERE), (KEPT, HERE_6)], &[HERE], &Expected(first(), vec![1], vec![], false));
        // The same twice.
        check(&[(KEPT, HERE), (KEPT, HERE)], &[HERE], &Expected(first(), vec![1], vec![], false));
        // The system chooses the port anew.
        let any = "127.0.0.1:0";
        check(&[(KEPT, HERE)], &[any], &Expected(vec![], first(), vec![any], false));
        // A unit's socket, with and without one that was kept before there was a unit.
        check(&[(unit, HERE)], &[HERE], &Expected(first(), vec![], vec![], false));
        check(&[("", HERE)], &[HERE], &Expected(first(), vec![], vec![], false));
        check(&[(unit, ELSEWHERE)], &[HERE], &Expected(first(), vec![], vec![], true));
        check(&[(unit, HERE)], &[HERE, HERE_6], &Expected(first(), vec![], vec![], true));
        check(
            &[(KEPT, HERE), (unit, ELSEWHERE)],
            &[HERE],
            &Expected(vec![1], first(), vec![], true),
        );
    }
}
