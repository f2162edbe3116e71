use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use feed::Received;
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::timeout;

/// As many as are taken at once.
const FRAMES_A_TIME: usize = 64;

/// The encoder's end of the queue of frames. Where the queue is full, whoever takes from it wakes the
/// socket's reader: so frames are taken many at a time, and it does not fall asleep after each.
pub(crate) struct Frames<'a> {
    queue: &'a mut Receiver<Received>,
    taken: VecDeque<Received>,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(queue: &'a mut Receiver<Received>) -> Self {
        Self { queue, taken: VecDeque::with_capacity(FRAMES_A_TIME) }
    }

    /// How many fill the queue; those that were taken from it do not.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.queue.is_empty()
    }

    /// The next frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Received, TryRecvError> {
        if let Some(frame) = self.taken.pop_front() {
            return Ok(frame);
        }
        let mut some = Vec::from(mem::take(&mut self.taken));
        let is_over = self.queue.recv_many(&mut some, FRAMES_A_TIME).now_or_never() == Some(0);
        self.taken = VecDeque::from(some);
        let nothing = if is_over { TryRecvError::Disconnected } else { TryRecvError::Empty };
        self.taken.pop_front().ok_or(nothing)
    }

    /// The next frame; `Empty` where none came for so long. Blocks.
    pub(crate) fn wait(
        &mut self,
        runtime: &Handle,
        patience: Duration,
    ) -> Result<Received, TryRecvError> {
        self.next().or_else(|_| {
            let next = runtime.block_on(async { timeout(patience, self.queue.recv()).await });
            next.map_err(|_| TryRecvError::Empty)?.ok_or(TryRecvError::Disconnected)
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::sync::mpsc;

    use super::*;

    fn frame(number: u64) -> Received {
        Received { payload: BytesMut::new(), received_at: number }
    }

    #[test]
    fn frames_come_in_their_order_and_make_room_together() {
        let (sender, mut queue) = mpsc::channel(4);
        let mut frames = Frames::new(&mut queue);
        assert!(matches!(frames.next(), Err(TryRecvError::Empty)));
        for number in 0..4 {
            sender.try_send(frame(number)).expect("room");
        }
        assert!(frames.next().is_ok_and(|next| next.received_at == 0));
        assert_eq!((sender.capacity(), frames.queued()), (4, 0));
        assert!(!frames.is_empty());
        sender.try_send(frame(4)).expect("room");
        drop(sender);
        for number in 1..5 {
            assert!(frames.next().is_ok_and(|next| next.received_at == number));
        }
        assert!(matches!(frames.next(), Err(TryRecvError::Disconnected)));
    }

    #[test]
    fn a_frame_is_waited_for() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (sender, mut queue) = mpsc::channel(4);
        let mut frames = Frames::new(&mut queue);
        let nothing = frames.wait(runtime.handle(), Duration::from_millis(1));
        assert!(matches!(nothing, Err(TryRecvError::Empty)));
        let sending = std::thread::spawn(move || sender.blocking_send(frame(7)).is_ok());
        let next = frames.wait(runtime.handle(), Duration::from_secs(60));
        assert!(next.is_ok_and(|next| next.received_at == 7));
        assert!(sending.join().is_ok_and(|sent| sent));
        let end = frames.wait(runtime.handle(), Duration::from_secs(60));
        assert!(matches!(end, Err(TryRecvError::Disconnected)));
    }
}
