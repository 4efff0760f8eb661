//! Lines into batches: what a stream, or the state file, says. No I/O.

use std::time::Duration;

use bytes::BytesMut;
use tollgate_engine::snapshot::{FORMAT, Line};

use crate::units::{Batch, Held, TooMuch};

/// Longest line: a deployment of a very large API is some megabytes.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Why a stream is not followed any further.
#[derive(Debug, thiserror::Error)]
pub enum BadStream {
    /// It ended, or broke off.
    #[error("closed: {0}")]
    Closed(String),
    /// Nothing came, not even a ping.
    #[error("silent for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// A line that cannot be read, or where it must not stand.
    #[error("malformed line: {0}")]
    Malformed(String),
    /// A line, a batch or a set larger than is taken.
    #[error("line longer than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// See [`TooMuch`].
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// A controller whose units we might misread.
    #[error("the controller's format is {0}, this proxy knows {FORMAT}: upgrade proxies before controllers")]
    Format(u32),
}

impl BadStream {
    /// As a metric's label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::Silent(_) => "silent",
            Self::Malformed(_) => "malformed",
            Self::LineTooLong | Self::TooMuch(_) => "too_large",
            Self::Format(_) => "format",
        }
    }
}

/// Cuts chunks into lines and gathers lines into batches. The first batch is complete.
#[derive(Debug)]
pub struct Reader {
    /// Bytes of lines that are not read yet.
    buffer: BytesMut,
    /// So much of the buffer is known to hold no line end.
    searched: usize,
    greeted: bool,
    batch: Batch,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), searched: 0, greeted: false, batch: Batch::new(true) }
    }
}

impl Reader {
    /// Takes a chunk as it came.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// Whether anything was left without a line end or a commit.
    pub fn is_between_batches(&self) -> bool {
        self.buffer.is_empty() && self.batch.is_empty()
    }

    /// The next batch that is closed by a commit, if the chunks so far hold one.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, BadStream> {
        while let Some(line) = self.next_line()? {
            if !line.is_empty()
                && let Some(batch) = self.take(&line)?
            {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<BytesMut>, BadStream> {
        let end = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|at| self.searched + at);
        self.searched = if end.is_some() { 0 } else { self.buffer.len() };
        if end.unwrap_or(self.buffer.len()) > MAX_LINE_BYTES {
            return Err(BadStream::LineTooLong);
        }
        let Some(end) = end else { return Ok(None) };
        let mut line = self.buffer.split_to(end + 1);
        line.truncate(end);
        Ok(Some(line))
    }

    fn take(&mut self, text: &[u8]) -> Result<Option<Batch>, BadStream> {
        let line: Line = Line::from_json(text).map_err(|error| BadStream::Malformed(error.to_string()))?;
        if !self.greeted && !matches!(line, Line::Hello { .. }) {
            return Err(BadStream::Malformed("the first line is not a hello".into()));
        }
        match line {
            Line::Hello { format } if format > FORMAT => return Err(BadStream::Format(format)),
            Line::Hello { .. } if self.greeted => return Err(BadStream::Malformed("a second hello".into())),
            Line::Hello { .. } => self.greeted = true,
            Line::Put { id, hash, unit } => self.batch.put(id, Held { hash, unit: *unit, bytes: text.len() as u64 })?,
            Line::Delete { id } => self.batch.delete(id)?,
            Line::Commit { .. } => return Ok(Some(std::mem::replace(&mut self.batch, Batch::new(false)))),
            Line::Ping | Line::Unknown => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::UnitSet;

    const STREAM: &str = concat!(
        r#"{"op":"hello","format":1}"#,
        "\n",
        r#"{"op":"put","id":"endpoints/a/b:80","hash":"01","unit":{"kind":"endpoints","service":{"namespace":"a","name":"b","port":80},"endpoints":[]}}"#,
        "\n",
        r#"{"op":"put","id":"plan/x","hash":"02","unit":{"kind":"telepathy","anything":[1]}}"#,
        "\n",
        r#"{"op":"commit","revision":1}"#,
        "\n",
        r#"{"op":"ping"}"#,
        "\n\n",
        r#"{"op":"something new","x":1}"#,
        "\n",
        r#"{"op":"delete","id":"endpoints/a/b:80"}"#,
        "\n",
        r#"{"op":"commit","revision":2}"#,
        "\n",
    );

    fn sets(chunks: &[&[u8]]) -> Result<Vec<UnitSet>, BadStream> {
        let (mut reader, mut sets) = (Reader::default(), Vec::new());
        for chunk in chunks {
            reader.push(chunk);
            while let Some(batch) = reader.next_batch()? {
                let last = sets.last().cloned().unwrap_or_default();
                sets.push(UnitSet::apply(&last, batch)?);
            }
        }
        Ok(sets)
    }

    fn names(set: &UnitSet) -> Vec<&str> {
        set.iter().map(|(id, _)| id.as_str()).collect()
    }

    #[test]
    fn lines_become_batches_and_what_is_unknown_is_kept_or_ignored() {
        let sets = sets(&[STREAM.as_bytes()]).unwrap();
        let names: Vec<_> = sets.iter().map(names).collect();
        assert_eq!(names, [vec!["endpoints/a/b:80", "plan/x"], vec!["plan/x"]]);
    }

    #[test]
    fn what_must_not_be_ends_the_stream() {
        let label = |text: &str| sets(&[text.as_bytes()]).unwrap_err().label();
        assert_eq!(label("{\"op\":\"ping\"}\n"), "malformed");
        assert_eq!(label("{\"op\":\"hello\",\"format\":1}\n{\"op\":\"hello\",\"format\":1}\n"), "malformed");
        assert_eq!(label("{\"op\":\"hello\",\"format\":1}\n{\"op\":\"put\"}\n"), "malformed");
        assert_eq!(label("{\"op\":\"hello\",\"format\":1}\n<html>\n"), "malformed");
        assert_eq!(label("{\"op\":\"hello\",\"format\":2}\n"), "format");
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let mut reader = Reader::default();
        reader.push(&vec![b' '; MAX_LINE_BYTES]);
        assert!(reader.next_batch().unwrap().is_none());
        reader.push(b" ");
        assert!(matches!(reader.next_batch(), Err(BadStream::LineTooLong)));
    }

    proptest! {
        #[test]
        fn chunks_may_be_cut_anywhere(mut cuts in proptest::collection::vec(0..STREAM.len(), 0..12)) {
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut rest = STREAM.as_bytes();
            for cut in cuts.iter().rev() {
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.insert(0, tail);
                rest = head;
            }
            chunks.insert(0, rest);
            let sets = sets(&chunks).unwrap();
            prop_assert_eq!(sets.len(), 2);
            prop_assert_eq!(names(&sets[1]), ["plan/x"]);
        }
    }
}
