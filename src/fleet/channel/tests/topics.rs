//! Letters and surveys go over one connection, and neither is in the other's way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Surveys of a megabyte until there is no room, and how many there was room for.
fn fill_with_surveys(from: &Running, to: NodeId) -> usize {
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    (0..1000).take_while(|_| from.handle.send(to, Topic::Survey, megabyte.clone())).count()
}

#[tokio::test]
async fn topics_have_inboxes_of_their_own() {
    let (a, mut b) = pair().await;
    a.reaches(&mut b, "hello").await;
    assert!(a.handle.send(B, Topic::Survey, Bytes::from_static(b"who is there?")));
    assert!(a.says(B, "a letter"));
    assert_eq!(b.receives().await, (A, "a letter".to_owned()));
    let (from, survey) = timeout(PATIENCE, b.surveys.receive()).await.unwrap().unwrap();
    assert_eq!((from, &*survey), (A, &b"who is there?"[..]));
}

/// What nobody reads is thrown away, and letters arrive all the same.
#[tokio::test]
async fn surveys_that_nobody_reads_block_nothing() {
    let (a, mut b) = pair().await;
    a.reaches(&mut b, "hello").await;
    let bytes = ARRIVING_BYTES_MAX + (16 << 20);
    for _ in 0..bytes >> 20 {
        let megabyte = Bytes::from(vec![0; 1 << 20]);
        let sent = a.handle.send_when_room(B, Topic::Survey, megabyte);
        assert!(timeout(PATIENCE, sent).await.unwrap());
    }
    assert!(a.says(B, "a letter"));
    assert_eq!(b.receives().await, (A, "a letter".to_owned()));
    b.shows("unread_messages_total", "16").await;
    // What is read makes room.
    for _ in 0..ARRIVING_BYTES_MAX >> 20 {
        timeout(PATIENCE, b.surveys.receive()).await.unwrap().unwrap();
    }
    assert!(a.handle.send(B, Topic::Survey, Bytes::from_static(b"again")));
    let (_, survey) = timeout(PATIENCE, b.surveys.receive()).await.unwrap().unwrap();
    assert_eq!(&*survey, b"again");
}

/// Both wait while the member is not reached; the letter, said last, comes first.
#[tokio::test]
async fn what_is_handed_over_goes_before_what_is_asked() {
    let (a, mut b) = (Running::usual(A).await, Running::usual(B).await);
    b.meets(&[(A, a.address)]).await;
    // The first message of all is taken out of its queue to dial.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.meets(&[(B, hangs.local_addr().unwrap())]).await;
    assert!(a.handle.send(B, Topic::Survey, Bytes::from_static(b"first")));
    let (mut dialed, _) = hangs.accept().await.unwrap();
    assert!(fill_with_surveys(&a, B) >= (QUEUE_BYTES_MAX >> 20) - 1);
    assert!(a.says(B, "a letter"), "the room of letters is its own");
    // Now it is led to B after all, until the letter is there.
    let mut onward = TcpStream::connect(b.address).await.unwrap();
    let (mut there, mut back) = ([0; 4096], [0; 4096]);
    while b.inbox.0.is_empty() {
        tokio::select! {
            read = dialed.read(&mut there) => {
                onward.write_all(&there[..read.unwrap()]).await.unwrap();
            }
            read = onward.read(&mut back) => {
                dialed.write_all(&back[..read.unwrap()]).await.unwrap();
            }
            () = sleep(Duration::from_millis(20)) => {}
        }
    }
    assert_eq!(b.receives().await, (A, "a letter".to_owned()));
    // The one that made it dial was before the letter.
    assert!(b.surveys.0.len() <= 1, "{}", b.surveys.0.len());
}

#[tokio::test]
async fn a_survey_is_bounded_apart_from_letters() {
    let a = Running::usual(A).await;
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.meets(&[(B, hangs.local_addr().unwrap())]).await;
    let room = QUEUE_BYTES_MAX >> 20;
    let surveys = fill_with_surveys(&a, B);
    assert!((room..=room + 1).contains(&surveys), "{surveys}");
    assert!(fill(&a, B) >= room, "letters have as much room as before");
    let too_long = Bytes::from(vec![0; Topic::Survey.bytes_max() + 1]);
    assert!(!a.handle.send_when_room(B, Topic::Survey, too_long.clone()).await);
    assert!(!a.handle.send(B, Topic::Survey, too_long));
    assert!(!a.handle.send_when_room(C, Topic::Survey, Bytes::new()).await, "to who is no member");
}
