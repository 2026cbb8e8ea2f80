//! What stands between an instance and everything else: open, frozen, or shut for ever.
//!
//! Tasks of one instance cannot be stopped where they are. But what they do can be kept from
//! everybody, and what is sent to them from them: frozen, calls and answers wait; shut, they are
//! lost. What was on its way when the freeze began arrives after the thaw, as from a process that
//! was stopped and went on: a zombie.

use tokio::sync::watch;

#[derive(Debug)]
pub struct Gate(watch::Sender<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Frozen,
    Shut,
}

/// The instance is no more.
#[derive(Debug)]
pub struct Gone;

impl Gate {
    pub fn new() -> Self {
        Self(watch::channel(State::Open).0)
    }

    pub fn set(&self, state: State) {
        self.0.send_if_modified(|at| {
            let moves = *at != State::Shut && *at != state;
            if moves {
                *at = state;
            }
            moves
        });
    }

    pub fn is(&self) -> State {
        *self.0.borrow()
    }

    /// Waits while it is frozen.
    pub async fn pass(&self) -> Result<(), Gone> {
        let mut told = self.0.subscribe();
        match told.wait_for(|state| *state != State::Frozen).await.map(|state| *state) {
            Ok(State::Open) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Waits until it is shut.
    pub async fn shut(&self) {
        let mut told = self.0.subscribe();
        let _gone = told.wait_for(|state| *state == State::Shut).await;
    }

    /// What `call` comes to, once the gate is open, unless it is shut meanwhile.
    pub async fn through<T>(&self, call: impl Future<Output = T>) -> Result<T, Gone> {
        self.pass().await?;
        let answer = tokio::select! {
            biased;
            () = self.shut() => return Err(Gone),
            answer = call => answer,
        };
        self.pass().await?;
        Ok(answer)
    }
}
