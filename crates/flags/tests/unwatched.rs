//! A file whose folder the system cannot watch. Alone in its program: a test beside it, on another
//! thread and without a subscriber, could have the events taken for unwanted.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::time::Duration;

use bartizan_flags::{FileSource, Flags};
use bartizan_testing::Log;
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn a_folder_that_is_not_there_is_looked_for_once_an_interval() {
    let (log, second) = (Log::default(), Duration::from_secs(1));
    let _listening = log.listen();
    let file = std::env::temp_dir().join("bartizan-no-such-folder/emergency.json");
    let source = FileSource::optional(file, Flags::empty().feed(9)).unwrap();
    assert!(timeout(second * 10 + second / 2, source.watch(second)).await.is_err());
    // Each round says that it could watch nothing, and then looks at the file.
    let text = log.text();
    assert_eq!(text.matches("the system tells of no changes").count(), 11, "{text}");
}
