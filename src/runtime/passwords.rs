//! Compares passwords with bcrypt hashes: slow by design, so few at once, away from the threads that
//! answer, and what was right is remembered for as long as the hash is the same.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::error;

/// A core's worth of work for as long as somebody tries passwords; the others go on scraping.
const AT_ONCE_MAX: usize = 1;
/// More are told to come again.
const WAITING_MAX: usize = 16;
/// Pairs of user and password that were right; the oldest is forgotten, and checked again. Twice the
/// users that a configuration can have: those of a gateway come again every few seconds.
const VERIFIED_MAX: usize = 2_048;

pub struct Passwords {
    /// New in each process, and in no log or file: who reads the memory of digests learns nothing.
    key: hmac::Key,
    verified: Mutex<Verified>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Verified {
    digests: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Right,
    Wrong,
    /// Too many wait already.
    Busy,
}

impl Passwords {
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> Result<Self, String> {
        let mut secret = [0; 32];
        let filled = SystemRandom::new().fill(&mut secret);
        filled.map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            verified: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Whether they were right before, for the same hash.
    pub fn remembers(&self, user: &str, password: &str, hash: &str) -> bool {
        self.verified().digests.contains(&self.digest(&[user, password, hash]))
    }

    pub async fn check(&self, user: &str, password: &str, hash: &str) -> Outcome {
        let digest = self.digest(&[user, password, hash]);
        let Some(_waiting) = Waiting::begin(&self.waiting) else { return Outcome::Busy };
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Outcome::Busy;
        };
        let (password, hash) = (password.to_owned(), hash.to_owned());
        let compared = spawn_blocking(move || {
            // Taken until it is done, also when its client has gone away meanwhile.
            let _place = place;
            bcrypt::verify(password, &hash)
        });
        match compared.await {
            Ok(Ok(true)) => {
                self.remember(digest);
                Outcome::Right
            }
            Ok(Ok(false)) => Outcome::Wrong,
            // What bcrypt has against a hash may repeat it.
            Ok(Err(_)) => {
                error!("a hash in `basic_auth_users` can't be compared with");
                Outcome::Wrong
            }
            Err(_) => Outcome::Busy,
        }
    }

    /// A number below `count` that hangs on `name`, and that nobody outside can foretell.
    pub fn draw(&self, name: &str, count: usize) -> usize {
        let digest = self.digest(&[name]);
        let number = u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"));
        let count = u64::try_from(count.max(1)).unwrap_or(u64::MAX);
        usize::try_from(number % count).expect("less than a usize")
    }

    fn digest(&self, texts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for text in texts {
            // With its length, so that no two lists of texts are one.
            context.update(&text.len().to_be_bytes());
            context.update(text.as_bytes());
        }
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 is 32 bytes")
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut verified = self.verified();
        if !verified.digests.insert(digest) {
            return;
        }
        verified.order.push_back(digest);
        if verified.order.len() > VERIFIED_MAX
            && let Some(oldest) = verified.order.pop_front()
        {
            verified.digests.remove(&oldest);
        }
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one that waits, also when its client goes away.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        if count.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
            return Some(Self(count));
        }
        count.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_right_is_remembered_until_the_hash_changes() {
        let passwords = Passwords::new().unwrap();
        let hash = bcrypt::hash("right", 4).unwrap();
        let check = async |password: &str, hash: &str, expected: Outcome| {
            assert_eq!(passwords.check("alice", password, hash).await, expected, "{password}");
        };
        check("wrong", &hash, Outcome::Wrong).await;
        check("right", &hash, Outcome::Right).await;
        check("", &hash, Outcome::Wrong).await;
        let changed = bcrypt::hash("other", 4).unwrap();
        assert!(passwords.remembers("alice", "right", &hash));
        assert!(!passwords.remembers("alice", "right", &changed));
        assert!(!passwords.remembers("bob", "right", &hash));
        assert!(!passwords.remembers("alice", "wrong", &hash));
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn few_are_compared_at_once_and_not_many_wait() {
        let passwords = Passwords::new().unwrap();
        let hash = bcrypt::hash("right", 4).unwrap();
        let taken = Arc::clone(&passwords.places).acquire_owned().await.unwrap();
        let mut waiting: Vec<_> =
            (0..WAITING_MAX).map(|_| Box::pin(passwords.check("alice", "right", &hash))).collect();
        for one in &mut waiting {
            assert_eq!(futures_util::FutureExt::now_or_never(one), None);
        }
        assert_eq!(passwords.check("alice", "right", &hash).await, Outcome::Busy);
        // Whose client goes away leaves its place in the queue.
        drop(waiting.pop());
        drop(taken);
        // In their order: the first has the place already.
        for one in waiting {
            assert_eq!(one.await, Outcome::Right);
        }
        assert_eq!(passwords.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let passwords = Passwords::new().unwrap();
        let digests: Vec<_> =
            (0..=VERIFIED_MAX).map(|n| passwords.digest(&[&n.to_string()])).collect();
        for digest in &digests {
            passwords.remember(*digest);
            passwords.remember(*digest);
        }
        let verified = passwords.verified();
        assert_eq!((verified.digests.len(), verified.order.len()), (VERIFIED_MAX, VERIFIED_MAX));
        assert!(!verified.digests.contains(&digests[0]) && verified.digests.contains(&digests[1]));
    }

    #[test]
    fn a_name_draws_the_same_number_and_another_process_another() {
        let passwords = Passwords::new().unwrap();
        let draw = |passwords: &Passwords| -> Vec<usize> {
            (0..64).map(|n| passwords.draw(&n.to_string(), 8)).collect()
        };
        let drawn = draw(&passwords);
        assert_eq!(drawn, draw(&passwords));
        assert!(
            drawn.iter().all(|number| *number < 8)
                && drawn.iter().any(|number| *number != drawn[0])
        );
        assert_ne!(drawn, draw(&Passwords::new().unwrap()));
    }
}
