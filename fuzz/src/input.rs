//! The fuzzer's bytes as choices.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arbitrary::{Result, Unstructured};

/// Makes choices out of `data`; a case that runs out of it ends.
pub fn choose(data: &[u8], case: impl FnOnce(&mut Unstructured<'_>) -> Result<()>) {
    let _ = case(&mut Unstructured::new(data));
}

/// At most `most` bytes.
pub fn bytes<'a>(input: &mut Unstructured<'a>, most: usize) -> Result<&'a [u8]> {
    let length = input.int_in_range(0..=most)?.min(input.len());
    input.bytes(length)
}

/// A text of at most `most` bytes.
pub fn text(input: &mut Unstructured<'_>, most: usize) -> Result<String> {
    Ok(String::from_utf8_lossy(bytes(input, most / 3)?).into_owned())
}

/// Up to four changes anywhere: flipped, set, cut, inserted, removed, repeated. They may cancel each other.
pub fn change(input: &mut Unstructured<'_>, what: &mut Vec<u8>) -> Result<()> {
    for _ in 0..input.int_in_range(0..=4)? {
        let at = input.int_in_range(0..=what.len())?;
        match input.int_in_range(0..=6)? {
            0 | 1 if at < what.len() => what[at] ^= 1 << input.int_in_range(0..=7)?,
            2 if at < what.len() => what[at] = input.arbitrary()?,
            3 => what.truncate(at),
            4 => what.insert(at, input.arbitrary()?),
            5 => {
                let more = bytes(input, 64)?.to_vec();
                what.extend(more);
            }
            6 if at < what.len() => {
                let end = input.int_in_range(at..=what.len())?;
                what.drain(at..end);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Once in so many times, and not where the choices have run out.
pub fn rarely(input: &mut Unstructured<'_>, times: u8) -> Result<bool> {
    Ok(input.int_in_range(1..=times)? == times)
}

/// [`change`] for something of fixed length.
pub fn change_array<const N: usize>(input: &mut Unstructured<'_>, what: &mut [u8; N]) -> Result<()> {
    for _ in 0..input.int_in_range(0..=3)? {
        what[input.int_in_range(0..=N - 1)?] = input.arbitrary()?;
    }
    Ok(())
}

/// Runs what waits for nothing but itself.
pub fn finish<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}
