//! Which bytes of which objects give a range of a file: every run in order, whole segments of each.

use std::ops::Range;

use super::ServiceError;
use crate::crypto::{Cover, Header, Layout, MetaKey, Run, RunId, open_runs};
use crate::transfer::{BlobKey, File, TransferId};

/// A stretch of one run.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) key: BlobKey,
    /// Where the run starts in the object.
    pub(super) base: u64,
    pub(super) run: RunId,
    pub(super) header: Header,
    pub(super) layout: Layout,
    pub(super) cover: Cover,
    /// Plaintext bytes wanted from the cover, after its `skip`.
    pub(super) take: u64,
}

/// A file as it can be read: its runs are authentic, and their sum is what the objects must measure.
#[derive(Debug)]
pub(super) struct Plan {
    runs: Vec<(Run, Layout)>,
    objects: Vec<BlobKey>,
    size: u64,
}

fn damaged(what: &str) -> ServiceError {
    ServiceError::Internal(format!("the record of a file is damaged: {what}"))
}

/// What was sent is not what is there. The key names transfer and file.
pub(super) fn damaged_object(key: &BlobKey) -> ServiceError {
    ServiceError::Internal(format!(
        "the object {key} is damaged or missing: check the disk, and put the object back if there is a copy; else end the \
         transfer and ask for the file again"
    ))
}

impl Plan {
    /// Opens the sealed runs and holds them against the record.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if anything does not fit.
    pub(super) fn open(key: &MetaKey, transfer: TransferId, file: &File) -> Result<Self, ServiceError> {
        let mut runs = Vec::new();
        for (page, sealed) in (0..).zip(&file.runs) {
            for run in open_runs(key, transfer.as_bytes(), file.id.as_bytes(), page, &sealed.0)? {
                let layout = Layout::of_plaintext(run.length).ok_or_else(|| damaged("a run"))?;
                runs.push((run, layout));
            }
        }
        let size = runs.iter().map(|(run, _)| run.length).sum();
        if runs.is_empty() || file.size != Some(size) {
            return Err(damaged("its runs"));
        }
        let plan =
            Self { runs, objects: file.objects.iter().map(|object| object.key.clone()).collect(), size };
        for (number, object) in (0..).zip(&file.objects) {
            if object.size != Some(plan.object_size(number)) {
                return Err(damaged("the size of an object"));
            }
        }
        Ok(plan)
    }

    /// What an object must measure in the blob store.
    fn object_size(&self, object: u32) -> u64 {
        self.runs.iter().filter(|(run, _)| run.object == object).map(|(_, layout)| layout.ciphertext()).sum()
    }

    /// The objects that a range needs, each with the size that it must have.
    pub(super) fn objects(&self, pieces: &[Piece]) -> Vec<(BlobKey, u64)> {
        let mut needed: Vec<(BlobKey, u64)> = Vec::new();
        for piece in pieces {
            if needed.last().is_none_or(|(key, _)| *key != piece.key) {
                needed.push((piece.key.clone(), self.object_size(piece.key.object)));
            }
        }
        needed
    }

    /// The pieces of `range`, which lies inside the file; an empty file has one piece of no bytes.
    ///
    /// # Errors
    /// [`ServiceError::Internal`] if the record does not fit.
    pub(super) fn pieces(
        &self,
        transfer: TransferId,
        file: &File,
        range: &Range<u64>,
    ) -> Result<Vec<Piece>, ServiceError> {
        let mut pieces = Vec::new();
        let (mut start, mut base, mut object) = (0, 0, 0);
        for (number, (run, layout)) in (0..).zip(&self.runs) {
            if run.object != object {
                (object, base) = (run.object, 0);
            }
            let end = start + run.length;
            let wanted = range.start.max(start)..range.end.min(end);
            let cover = if self.size == 0 {
                Some(layout.whole())
            } else if wanted.is_empty() {
                None
            } else {
                Some(
                    layout
                        .cover(wanted.start - start..wanted.end - start)
                        .ok_or_else(|| damaged("a range"))?,
                )
            };
            if let Some(cover) = cover {
                let key = usize::try_from(object).ok().and_then(|object| self.objects.get(object));
                pieces.push(Piece {
                    key: key.ok_or_else(|| damaged("an object"))?.clone(),
                    base,
                    run: RunId { transfer: *transfer.as_bytes(), file: *file.id.as_bytes(), run: number },
                    header: Header::from_bytes(run.header)?,
                    layout: *layout,
                    cover,
                    take: wanted.end.saturating_sub(wanted.start),
                });
            }
            start = end;
            base += layout.ciphertext();
        }
        Ok(pieces)
    }
}
