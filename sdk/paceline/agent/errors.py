"""What ends an agent early: each carries the exit code and the reason of the termination message."""

from __future__ import annotations

from paceline import _contract as c


class AgentError(Exception):
    """The job cannot go on; the text says why and what to change."""

    exit_code = 1
    reason = c.REASON_ERROR


class InvalidConfigError(AgentError):
    """Environment or command line make no sense; found before anything was started."""

    exit_code = c.EXIT_INVALID_CONFIG
    reason = c.REASON_CONFIG


class MissingCredentialsError(AgentError):
    """A tracker of the run has no key, or refuses it; found before anything was started."""

    exit_code = c.EXIT_INVALID_CONFIG
    reason = c.REASON_CREDENTIALS


class StorageFailedError(AgentError):
    """The store refused for good, or for longer than the agent's patience."""

    exit_code = c.EXIT_STORAGE
    reason = c.REASON_STORAGE


class CheckpointError(AgentError):
    """The training code asked for a checkpoint that cannot exist, such as two of one name."""


class FencedError(AgentError):
    """A newer attempt, or another run, has taken over the run directory."""

    exit_code = c.EXIT_STORAGE
    reason = c.REASON_FENCED


class LeadLostError(AgentError):
    """The agent of pod 0 could not be reached for too long."""

    exit_code = c.EXIT_LEAD_LOST
    reason = c.REASON_LEAD_LOST


class CommandError(AgentError):
    """The command could not be started."""

    reason = c.REASON_COMMAND

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
