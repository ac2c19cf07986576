//! The lines of a body as it comes, decompressed if need be.
//!
//! # Invariants
//! - What is held is one line, at most as long as a whole request may be, and a piece of the body.
//! - A sender that is silent for too long is given up; one that goes on sending is not.

use super::raise;
use crate::error::Error;
use crate::pool::Reservation;
use axum::body::Body;
use bytes::{Buf, Bytes};
use guard::Limit;
use http_body_util::BodyExt;
use std::ops::Range;
use std::time::Duration;
use wire::gzip::Inflater;

/// So much of a body is looked at before others get their turn.
const TURN_BYTES: usize = 1 << 20;
/// A step of decompressing takes its time, however little comes of it: as looking at so much.
const STEP_BYTES: usize = 4 << 10;
/// So much is taken over at once.
const PIECE_BYTES: usize = 64 << 10;
/// So much comes out of one step of decompressing.
const INFLATED_BYTES: usize = 512 << 10;

/// The lines of a body.
pub(crate) struct Lines {
    body: Body,
    /// What came and is not taken over yet.
    piece: Bytes,
    inflater: Option<Inflater>,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer, and how far it was searched for its end.
    start: usize,
    searched: usize,
    has_ended: bool,
    number: u64,
    line_bytes_max: Limit,
    silence: Duration,
    since_turn: usize,
    /// The memory of the buffer, once it is long.
    reservation: Reservation,
}

impl Lines {
    /// The lines of `body`, each of at most `line_bytes_max` bytes. The sender may be silent for
    /// `silence`.
    pub(crate) fn new(
        (body, is_gzip): (Body, bool),
        line_bytes_max: Limit,
        silence: Duration,
        reservation: Reservation,
    ) -> Self {
        Self {
            body,
            piece: Bytes::new(),
            inflater: is_gzip.then(Inflater::default),
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            has_ended: false,
            number: 0,
            line_bytes_max,
            silence,
            since_turn: 0,
            reservation,
        }
    }

    /// The number of the line that was read last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A line that was just read, without its line feed.
    pub(crate) fn get(&self, line: Range<usize>) -> &[u8] {
        self.buffer.get(line).unwrap_or_default()
    }

    /// Reads the next line that is not empty; `None` at the end.
    ///
    /// # Errors
    /// [`Error`] if the body cannot be read, or the line is too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Range<usize>>, Error> {
        loop {
            if self.searched == self.start {
                self.pass_empty();
            }
            let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            let end = found.map_or(self.buffer.len(), |at| self.searched + at);
            let line = self.start..end;
            if self.line_bytes_max.is_exceeded_by(line.len() as u64) {
                self.number += 1;
                return Err(Error::LongLine { limit: self.line_bytes_max.0 });
            }
            if found.is_some() || (self.has_ended && !line.is_empty()) {
                self.number += 1;
                self.start = end + usize::from(found.is_some());
                self.searched = self.start;
                return Ok(Some(line));
            }
            if self.has_ended {
                return Ok(None);
            }
            self.searched = end;
            self.fill().await?;
        }
    }

    /// Goes past lines that say nothing, which a body may be full of.
    fn pass_empty(&mut self) {
        let empty = self.buffer[self.start..].iter().take_while(|byte| **byte == b'\n').count();
        self.number += empty as u64;
        self.start += empty;
        self.searched = self.start;
    }

    /// Takes over a piece more.
    async fn fill(&mut self) -> Result<(), Error> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.piece.is_empty() {
            match tokio::time::timeout(self.silence, self.body.frame()).await {
                Err(_) => {
                    let silence_ms = self.silence.as_millis();
                    let timeout_ms = u64::try_from(silence_ms).unwrap_or(u64::MAX);
                    return Err(Error::BodyTimeout { timeout_ms });
                }
                Ok(Some(frame)) => {
                    let frame = frame.map_err(|error| Error::of_body(&error))?;
                    self.piece = frame.into_data().unwrap_or_default();
                }
                Ok(None) => {
                    self.has_ended = true;
                    if let Some(inflater) = &mut self.inflater {
                        inflater.finish(&mut self.buffer)?;
                    }
                    return Ok(());
                }
            }
        }
        let more = match &self.inflater {
            Some(_) => INFLATED_BYTES,
            None => self.piece.len().min(PIECE_BYTES),
        };
        self.make_room(more);
        let before = self.buffer.len();
        if before > PIECE_BYTES {
            raise(&mut self.reservation, 2 * before as u64).await?;
        }
        let taken = match &mut self.inflater {
            Some(inflater) => inflater.step(&self.piece, &mut self.buffer)?,
            None => {
                let taken = self.piece.len().min(PIECE_BYTES);
                self.buffer.extend_from_slice(&self.piece[..taken]);
                taken
            }
        };
        self.piece.advance(taken);
        self.since_turn += (taken + self.buffer.len() - before).max(STEP_BYTES);
        if self.since_turn > TURN_BYTES {
            self.since_turn = 0;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Makes room for so much more. Doubled again and again, a buffer would be held twice just
    /// when it is longest: from a quarter of the longest line on there is room for all of it.
    fn make_room(&mut self, more: usize) {
        let (len, capacity) = (self.buffer.len(), self.buffer.capacity());
        if capacity - len >= more {
            return;
        }
        let longest = usize::try_from(self.line_bytes_max.get()).unwrap_or(usize::MAX);
        let whole = longest.saturating_add(more);
        let doubled = (2 * capacity).max(len + more);
        let wanted = if doubled > whole / 2 { whole.max(len + more) } else { doubled };
        self.buffer.reserve_exact(wanted - len);
    }
}
