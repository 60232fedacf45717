//! Limits the retries and the time spent on a queue that refuses, so that other messages do not
//! wait for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use messages::Message;
use messages::queue::{EventQueue, Queue, QueueError};
use platform::runtime::Runtime;

/// Time limit of one queue's send. A healthy queue takes a whole batch in a tenth of that.
const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum pauses before the relay's second and third try.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Consecutive failures after which the sweep skips a queue.
const FAILURES: u32 = 3;

async fn within_patience(
    send: impl Future<Output = Result<(), QueueError>> + Send,
) -> Result<(), QueueError> {
    tokio::time::timeout(PATIENCE, send)
        .await
        .unwrap_or(Err(QueueError::TimedOut))
}

/// Tries each send three times: the relay runs once per record, and a brief refusal must not delay
/// a message by minutes.
#[derive(Debug)]
pub(crate) struct Persistent<'a, Q> {
    queues: &'a Q,
    runtime: &'a Runtime,
}

impl<'a, Q> Persistent<'a, Q> {
    pub(crate) fn new(queues: &'a Q, runtime: &'a Runtime) -> Self {
        Self { queues, runtime }
    }
}

impl<Q: EventQueue> EventQueue for Persistent<'_, Q> {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        within_patience(async {
            for pause in PAUSES {
                match self.queues.send(queue, messages).await {
                    Err(QueueError::Aws(_) | QueueError::Partial { .. }) => {
                        tokio::time::sleep(self.runtime.jitter(pause)).await;
                    }
                    done => return done,
                }
            }
            self.queues.send(queue, messages).await
        })
        .await
    }
}

/// Skips a queue that fails repeatedly: the sweep has other orders to check and runs again in a
/// minute.
#[derive(Debug)]
pub(crate) struct Sparing<'a, Q> {
    queues: &'a Q,
    /// Each queue's consecutive failures and its last error.
    failures: Mutex<BTreeMap<Queue, (u32, QueueError)>>,
}

impl<'a, Q> Sparing<'a, Q> {
    pub(crate) fn new(queues: &'a Q) -> Self {
        Self {
            queues,
            failures: Mutex::default(),
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<Queue, (u32, QueueError)>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn given_up(&self, queue: Queue) -> Result<(), QueueError> {
        match self.failures().get(&queue) {
            Some((count, error)) if *count >= FAILURES => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// A refusal of the message itself says nothing about the queue.
    fn note(&self, queue: Queue, result: &Result<(), QueueError>) {
        let mut failures = self.failures();
        match result {
            Ok(()) => {
                failures.remove(&queue);
            }
            Err(error @ (QueueError::Aws(_) | QueueError::TimedOut)) => {
                let count = failures.get(&queue).map_or(0, |(count, _)| *count);
                failures.insert(queue, (count + 1, error.clone()));
            }
            Err(
                QueueError::Partial { .. } | QueueError::Encoding | QueueError::NotConfigured(_),
            ) => {}
        }
    }
}

impl<Q: EventQueue> EventQueue for Sparing<'_, Q> {
    async fn send(&self, queue: Queue, messages: &[Message]) -> Result<(), QueueError> {
        self.given_up(queue)?;
        let result = within_patience(self.queues.send(queue, messages)).await;
        self.note(queue, &result);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domain::Timestamp;

    use super::*;

    /// Gives one scripted answer per call, then accepts everything; `None` never answers.
    struct Scripted {
        answers: Vec<Option<Result<(), QueueError>>>,
        calls: AtomicUsize,
    }

    impl Scripted {
        fn new(answers: impl Into<Vec<Option<Result<(), QueueError>>>>) -> Self {
            Self {
                answers: answers.into(),
                calls: AtomicUsize::new(0),
            }
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::SeqCst)
        }
    }

    impl EventQueue for Scripted {
        async fn send(&self, _queue: Queue, _messages: &[Message]) -> Result<(), QueueError> {
            let call = self.calls.fetch_add(1, Ordering::SeqCst);
            match self.answers.get(call) {
                Some(Some(answer)) => answer.clone(),
                Some(None) => std::future::pending().await,
                None => Ok(()),
            }
        }
    }

    fn runtime() -> Runtime {
        Runtime::new(|| Timestamp::from_millis(0), |bytes| bytes.fill(u8::MAX))
    }

    const REFUSED: QueueError = QueueError::Partial {
        refused: 1,
        sent: 1,
    };

    #[tokio::test(start_paused = true)]
    async fn the_relay_asks_a_queue_that_refuses_twice_more() {
        let queues = Scripted::new([Some(Err(REFUSED)), Some(Err(REFUSED))]);
        let (began, runtime) = (tokio::time::Instant::now(), runtime());
        let persistent = Persistent::new(&queues, &runtime);
        let sent = persistent.send(Queue::Email, &[]);
        assert_eq!((sent.await, queues.calls()), (Ok(()), 3));
        assert_eq!(began.elapsed(), PAUSES[0] + PAUSES[1]);

        let queues = Scripted::new(vec![Some(Err(REFUSED)); 9]);
        let persistent = Persistent::new(&queues, &runtime);
        let sent = persistent.send(Queue::Email, &[]);
        assert_eq!((sent.await, queues.calls()), (Err(REFUSED), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_try_can_change_is_not_tried_again() {
        let queues = Scripted::new([Some(Err(QueueError::Encoding))]);
        let sent = Persistent::new(&queues, &runtime())
            .send(Queue::Email, &[])
            .await;
        assert_eq!((sent, queues.calls()), (Err(QueueError::Encoding), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_answer_is_waited_for_five_seconds_in_all() {
        let queues = Scripted::new([Some(Err(REFUSED)), None]);
        let (began, runtime) = (tokio::time::Instant::now(), runtime());
        let persistent = Persistent::new(&queues, &runtime);
        let sent = persistent.send(Queue::Email, &[]);
        assert_eq!(sent.await, Err(QueueError::TimedOut));
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sweep_gives_up_a_queue_after_three_failures_in_a_row_and_no_other() {
        let silence = || vec![None; 9];
        let queues = Scripted::new(silence());
        let sparing = Sparing::new(&queues);
        for _ in 0..9 {
            let sent = sparing.send(Queue::Email, &[]).await;
            assert_eq!(sent, Err(QueueError::TimedOut));
        }
        assert_eq!(queues.calls(), 3);
        assert_eq!(
            sparing.send(Queue::Payment, &[]).await,
            Err(QueueError::TimedOut)
        );
        assert_eq!(queues.calls(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_refused_for_its_own_sake_gives_up_no_queue() {
        let queues = Scripted::new(vec![Some(Err(REFUSED)); 9]);
        let sparing = Sparing::new(&queues);
        for _ in 0..9 {
            assert_eq!(sparing.send(Queue::Email, &[]).await, Err(REFUSED));
        }
        assert_eq!(sparing.send(Queue::Email, &[]).await, Ok(()));
    }
}
