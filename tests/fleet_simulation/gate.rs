//! What stands between an instance and everything else: open, frozen, or shut for ever.
//!
//! Tasks of one instance cannot be stopped where they are. But what they do can be kept from
//! everybody, and what is sent to them from them: frozen, calls and answers wait; shut, they are
//! lost. What was on its way when the freeze began arrives after the thaw, as from a process that
//! was stopped and went on: a zombie.

use crate::ordered::Ordered;

#[derive(Debug)]
pub struct Gate(Ordered<State>);

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
        Self(Ordered::new(State::Open))
    }

    pub fn set(&self, state: State) {
        if self.is() != State::Shut {
            self.0.change(|at| *at = state);
        }
    }

    pub fn is(&self) -> State {
        self.0.get()
    }

    /// Waits while it is frozen.
    pub async fn pass(&self) -> Result<(), Gone> {
        match self.0.wait_for(|state| *state != State::Frozen).await {
            State::Open => Ok(()),
            State::Frozen | State::Shut => Err(Gone),
        }
    }

    /// Waits until it is shut.
    pub async fn shut(&self) {
        self.0.wait_for(|state| *state == State::Shut).await;
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
