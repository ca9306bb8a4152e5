//! What becomes of a partial file whose sync fails unheard, and of one that goes on.

use super::*;

const NO: PartialNo = PartialNo(7);

fn staging() -> (tempfile::TempDir, Staging) {
    let folder = tempfile::tempdir().expect("a folder");
    let staging = Staging::new(folder.path(), 1);
    (folder, staging)
}

async fn begun(staging: &Staging, bytes: usize) -> PartialFile {
    let mut file = staging.begin_partial(NO, 4096).await.expect("a file");
    file.write(vec![5; bytes].into()).await.expect("room");
    file
}

/// A sync under way that will fail. The kernel tells such an error once: the next sync
/// of the same file knows nothing of it.
fn failing() -> Syncing {
    tokio::spawn(async { Err(std::io::Error::from_raw_os_error(5)) })
}

#[tokio::test]
async fn what_a_sync_under_way_says_is_heard_before_a_file_is_whole() {
    let (_folder, staging) = staging();
    let mut file = begun(&staging, 100).await;
    file.syncing = Some(failing());

    let error = file.finish().await.expect_err("its bytes may be lost");

    assert_eq!(error.raw_os_error(), Some(5));
}

#[tokio::test]
async fn what_a_sync_under_way_says_is_heard_before_a_file_goes_on() {
    let (_folder, staging) = staging();
    let mut file = begun(&staging, 100).await;
    file.syncing = Some(failing());
    file.rest();

    let resumed = staging.resume_partial(NO, 100, 4096).await;

    let error = resumed.expect_err("its bytes may be lost");
    assert_eq!(error.raw_os_error(), Some(5));
}

#[tokio::test]
async fn a_file_goes_on_with_the_hash_it_had() {
    let (_folder, staging) = staging();
    begun(&staging, 100).await.rest();

    let mut file = staging
        .resume_partial(NO, 100, 4096)
        .await
        .expect("it is there");
    file.write(vec![5; 28].into()).await.expect("room");

    assert_eq!(file.digest(), Digest::of(&[5; 128]));
}

#[tokio::test]
async fn a_file_that_goes_on_earlier_is_cut_and_hashed_anew() {
    let (folder, staging) = staging();
    begun(&staging, 100).await.rest();

    let file = staging
        .resume_partial(NO, 60, 4096)
        .await
        .expect("it is there");

    assert_eq!(file.digest(), Digest::of(&[5; 60]));
    let path = folder.path().join(NO.file_name());
    assert_eq!(std::fs::metadata(path).expect("a file").len(), 60);
}

#[tokio::test]
async fn what_is_journaled_while_a_file_is_opened_again_is_known() {
    let (_folder, staging) = staging();
    let mut file = begun(&staging, 100).await;
    let (end, ended) = tokio::sync::oneshot::channel();
    file.syncing = Some(tokio::spawn(async {
        ended.await.map_err(std::io::Error::other)
    }));
    file.rest();
    let mut resumed = Box::pin(staging.resume_partial(NO, 100, 4096));
    tokio::select! {
        biased;
        _ = &mut resumed => panic!("a sync is under way"),
        () = std::future::ready(()) => staging.journaled(NO, 100),
    }
    end.send(()).expect("it waits");

    let file = resumed.await.expect("it is there");

    assert_eq!(*file.journaled.borrow(), 100);
}

#[tokio::test]
async fn a_file_for_whose_rest_there_is_no_room_goes_on_resting() {
    let (_folder, staging) = staging();
    begun(&staging, 100).await.rest();

    let refused = staging.resume_partial(NO, 100, u64::MAX).await;
    let resumed = staging.resume_partial(NO, 100, 4096).await;

    refused.expect_err("no disk has that much");
    assert_eq!(
        resumed.expect("it is there").digest(),
        Digest::of(&[5; 100])
    );
}
