//! Bodies on several threads, where tasks run in any order.

use super::*;
use crate::clock::Dice;

const WHOLE: usize = 3 * MIB;

/// Reads everything, giving way now and then.
async fn ambling(mut reader: Reader, dice: Arc<Dice>) -> (Vec<u8>, Option<Error>) {
    let mut out = Vec::new();
    while let Some(chunk) = reader.next().await {
        match chunk {
            Ok(chunk) => out.extend_from_slice(&chunk),
            Err(cause) => return (out, Some(cause)),
        }
        for _ in 0..dice.below(20) {
            tokio::task::yield_now().await;
        }
    }
    (out, None)
}

async fn round(seed: u64, blocks: u64) {
    let dice = Arc::new(Dice::seeded(seed));
    let settings = Settings { hold: 0, window: 0, blocks, ..Settings::default() };
    let (_, bodies) = faulty_with(settings).await;
    let whole = body(WHOLE);
    // Every third is broken off, every third is too large and spilt to all, the others are finished.
    let max = if seed % 3 == 1 { 2 * MIB as u64 } else { MANY };
    let (mut writer, growing) = bodies.writer(KEY, seed, None, max);
    let owner = tokio::spawn(ambling(growing.reader(None), Arc::clone(&dice)));
    let readers: Vec<_> =
        (0..12).map(|_| tokio::spawn(ambling(growing.reader(None), Arc::clone(&dice)))).collect();
    let mut at = 0;
    let mut spill = None;
    while at < WHOLE {
        let end = WHOLE.min(at + 1 + usize::try_from(dice.below(200_000)).unwrap());
        let chunk = whole.slice(at..end);
        at = end;
        if let Some(spill) = &mut spill {
            crate::body::Spill::write(spill, chunk).await.unwrap();
        } else if writer.write(chunk).await.is_err() {
            let (next, _) = bodies.writer(KEY, MANY, None, 0);
            spill = Some(std::mem::replace(&mut writer, next).spill());
        }
        tokio::task::yield_now().await;
    }
    let clean = match (spill, seed % 3) {
        (Some(spill), _) => {
            spill.finish().unwrap();
            true
        }
        (None, 2) => {
            drop(writer);
            false
        }
        (None, _) => {
            let manifest = Arc::new(writer.finish().await.unwrap().manifest);
            let stored = ambling(bodies.reader(KEY, &manifest, None), Arc::clone(&dice)).await;
            assert!(stored.0 == whole && stored.1.is_none());
            true
        }
    };
    let (bytes, cause) = owner.await.unwrap();
    assert!(bytes == whole && cause.is_none() == (seed % 3 != 2), "owner: {} {cause:?}", bytes.len());
    for reader in readers {
        let (bytes, cause) = reader.await.unwrap();
        assert!(whole.starts_with(&bytes));
        assert_eq!(cause.is_none(), clean, "{cause:?}");
        assert!(!clean || bytes.len() == WHOLE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten() {
    for seed in 0..24 {
        let done = round(seed, [0, 1 << 20, 32 << 20][usize::try_from(seed % 4).unwrap() % 3]);
        tokio::time::timeout(Duration::from_mins(1), done).await.expect("nobody waits for ever");
    }
}
