//! Work on rows, on all of candle's threads.
use candle_core::{CpuStorage, Result, Storage, Tensor, utils::barrier_pool};
use parking_lot::Mutex;

/// Bytes for which a second thread is worth its start.
const WORTH_A_THREAD: usize = 64 * 1024;
/// Pieces that rows are cut into, at most: threads that are faster take more of them.
const PIECES: usize = 32;

/// Reads a contiguous tensor of `f32` on the CPU in place.
pub(crate) fn read<T>(tensor: &Tensor, with: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        candle_core::bail!("not `f32` on the CPU: {tensor:?}")
    };
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("not contiguous: {tensor:?}")
    };
    Ok(with(&values[from..to]))
}

/// Work on one row or piece. Its implementations are `#[inline(always)]`, so that they are compiled for the vectors of the
/// place that calls them.
pub(crate) trait Work<T = f32>: Sync {
    /// `at` is the number of the row.
    fn compute(&self, at: usize, values: &mut [T]);
}

/// Computes each row of `width` numbers, in any order.
pub(crate) fn each_row<T: Send>(values: &mut [T], width: usize, work: impl Work<T>) {
    let (width, total) = (width.max(1), values.len());
    let rows = (total / width).div_ceil(PIECES).max(1);
    let size = if size_of_val(values) < WORTH_A_THREAD { total.max(1) } else { rows * width };
    each_piece(values.chunks_mut(size).collect(), Rows { width, rows: size / width, work });
}

struct Rows<W> {
    width: usize,
    /// Of each piece but the last.
    rows: usize,
    work: W,
}

impl<T, W: Work<T>> Work<T> for Rows<W> {
    #[inline(always)]
    fn compute(&self, piece: usize, values: &mut [T]) {
        for (at, row) in values.chunks_exact_mut(self.width).enumerate() {
            self.work.compute(piece * self.rows + at, row);
        }
    }
}

/// Computes each piece, in any order.
pub(super) fn each_piece<T: Send>(pieces: Vec<&mut [T]>, work: impl Work<T>) {
    if pieces.len() == 1 {
        pieces.into_iter().for_each(|values| widest(Piece { work: &work, at: 0, values }));
        return;
    }
    // Never contended: a piece is one thread's.
    let pieces: Vec<Mutex<&mut [T]>> = pieces.into_iter().map(Mutex::new).collect();
    barrier_pool().execute_chunked(pieces.len(), |range| {
        for at in range {
            widest(Piece { work: &work, at, values: &mut pieces[at].lock() });
        }
    });
}

struct Piece<'a, T, W> {
    work: &'a W,
    at: usize,
    values: &'a mut [T],
}

impl<T, W: Work<T>> pulp::NullaryFnOnce for Piece<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.work.compute(self.at, self.values);
    }
}

/// Runs it compiled for vectors of 256 bits if the processor has them, whatever the program was built for.
#[cfg(target_arch = "x86_64")]
fn widest<T, W: Work<T>>(piece: Piece<'_, T, W>) {
    use pulp::NullaryFnOnce;
    match pulp::x86::V3::try_new() {
        Some(wide) => wide.vectorize(piece),
        None => piece.call(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest<T, W: Work<T>>(piece: Piece<'_, T, W>) {
    pulp::NullaryFnOnce::call(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct AddNumber;

    impl Work for AddNumber {
        fn compute(&self, at: usize, row: &mut [f32]) {
            row.iter_mut().for_each(|value| *value += at as f32);
        }
    }

    #[test]
    fn every_row_is_worked_on_once_whatever_their_number() {
        for (rows, width) in [(1, 5), (3, 7), (40, 1000), (1000, 33), (33, 512)] {
            let mut values = vec![0.5; rows * width];
            each_row(&mut values, width, AddNumber);
            for (at, row) in values.chunks(width).enumerate() {
                assert!(row.iter().all(|value| *value == at as f32 + 0.5), "row {at} of {rows} × {width}");
            }
        }
        each_row(&mut [], 5, AddNumber);
    }
}
