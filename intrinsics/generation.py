"""One reply of the base model, streamed: it becomes a message when its reader has it all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from threading import Lock

from .conversation import Conversation
from .errors import RequestError
from .job import Job
from .pieces import Pieces
from .scheduler import Scheduler
from .writer import Reply, Writer, Written


class Generation(Iterator[str], AsyncIterator[str]):
    """Iterates over the pieces of a reply, with `for` or `async for`.

    At the end the conversation has the reply as a message. Until then it is as it was before, and
    takes nothing else; so it stays when a forward fails, and when the generation is closed or
    dropped, which frees its rows before the next forward. The engine writes on while nobody reads.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        conversation: Conversation,
        writer: Writer,
        timeout: float | None = None,
    ) -> None:
        """Begin. Raises: ConversationError: another reply is in progress; TimedOut."""
        self._conversation = conversation
        self._reply: Reply | None = None
        self._open = False
        self._ending = Lock()
        self._pieces = Pieces()
        writer.show = self._pieces.put
        self._job: Job[Written] = Job(writer.run(), timeout)
        self._job.when_done(self._pieces.put)
        conversation.open_reply()
        self._open = True
        try:
            scheduler.submit(self._job)
        except BaseException:
            self.close()
            raise

    def __next__(self) -> str:
        """The next piece of text, waited for in a thread."""
        if not self._open:
            raise StopIteration
        try:
            piece = self._pieces.get()
        except BaseException:
            self.close()  # interrupted: nobody will read on
            raise
        if piece is None:
            self._end()
            raise StopIteration
        return piece

    async def __anext__(self) -> str:
        """The next piece of text, waited for in a task."""
        if not self._open:
            raise StopAsyncIteration
        try:
            piece = await self._pieces.next()
        except BaseException:
            self.close()  # the task was cancelled: nobody will read on
            raise
        if piece is None:
            self._end()
            raise StopAsyncIteration
        return piece

    def _end(self) -> None:
        """Make the written reply a message. Changes: the conversation."""
        with self._ending:
            if not self._open:
                return
            self._open = False
            try:
                written = self._job.result()
            except BaseException:
                self._conversation.drop_reply()
                raise
            self._conversation.close_reply(written.reply.text, written.draft)
            written.draft.release()
            self._reply = written.reply

    def close(self) -> None:
        """Abandon the reply. The conversation is as it was before. Safe from any thread."""
        with self._ending:
            if self._open:
                self._open = False
                self._job.cancel()
                self._job.discard(lambda written: written.draft.release())
                self._conversation.drop_reply()
                self._pieces.put(None)  # for a reader that waits

    def __del__(self) -> None:
        """Nobody reads it any more."""
        if self._open:
            self.close()

    @property
    def reply(self) -> Reply:
        """The reply, once the iteration has ended. Raises: RequestError: it has not."""
        if self._reply is None:
            raise RequestError("the reply is not finished; iterate to the end first")
        return self._reply
