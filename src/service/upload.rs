//! What is said of an upload, and what its task is told.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::transfer::FileName;
use crate::transfer::policy::Settled;

/// What is said of a file before its bytes.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Its name.
    pub name: FileName,
    /// Its media type, as the sender says.
    pub media_type: Option<String>,
    /// Its length in bytes, if the sender says; then exactly so many must come.
    pub length: Option<u64>,
}

/// What the task is told, in order.
pub(super) enum Order {
    /// The next file.
    File(NewUpload),
    /// Its bytes.
    Data(Bytes),
    /// It is whole.
    EndFile,
    /// All files are whole.
    Complete(Settled),
}

/// Orders that may wait, and as many may be taken: the socket is read while a part is sealed. Each is what was read at once,
/// 128 or 512 KiB.
const WAITING: usize = 4;

/// The same while many uploads share the processors: it counts for none of their buffers, and 64 must fit in 400 MiB.
const WAITING_OF_MANY: usize = 1;

/// The task's end of the channel.
pub(super) struct Orders {
    waiting: mpsc::Receiver<Order>,
    /// Taken together, newest first, so that the sender is woken once for several.
    taken: Vec<Order>,
}

impl Orders {
    pub(super) fn channel(many: bool) -> (mpsc::Sender<Order>, Self) {
        let (orders, waiting) = mpsc::channel(if many { WAITING_OF_MANY } else { WAITING });
        (orders, Self { waiting, taken: Vec::with_capacity(WAITING) })
    }

    /// The next order; none once the sender has left.
    pub(super) async fn next(&mut self) -> Option<Order> {
        if self.taken.is_empty() {
            self.waiting.recv_many(&mut self.taken, WAITING).await;
            self.taken.reverse();
        }
        self.taken.pop()
    }
}
