//! A file whose folder the system cannot watch. Alone in its program: a test beside it, on another
//! thread and without a subscriber, could have the events taken for unwanted.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bartizan_flags::{FileSource, Flags};
use tokio::time::timeout;
use tracing::Level;

/// Where the events of this thread go.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_not_there_is_looked_for_once_an_interval() {
    let (log, second) = (Log::default(), Duration::from_secs(1));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(Level::DEBUG);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let file = std::env::temp_dir().join("bartizan-no-such-folder/emergency.json");
    let source = FileSource::optional(file, Flags::empty().feed(9)).unwrap();
    assert!(timeout(second * 10 + second / 2, source.watch(second)).await.is_err());
    // Each round says that it could watch nothing, and then looks at the file.
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("the system tells of no changes").count(), 11, "{text}");
}
