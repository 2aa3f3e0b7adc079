"""A model in memory, shared by all calls to it: its thread, and the way there and back. Its work: `onnx_engine`.

    loading ──▶ idle ⇄ generating ──▶ closed
        └─────▶ failed

Between two tokens the thread takes in what is new and lets go what nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from astromesh_router.dialects.onnx_engine import Broken, Engine, Order, Step, Written

Errand = Callable[[Engine], None]


class Turn:
    """One reply in the making. Belongs to the event loop that began it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[Step] = asyncio.Queue()

    def hear(self, step: Step) -> None:
        """Takes a step, in the model's thread."""
        try:
            self._loop.call_soon_threadsafe(self._steps.put_nowait, step)
        except RuntimeError:
            return  # the loop is closed, and with it whoever waited

    async def steps(self) -> AsyncGenerator[Step, None]:
        """Every step as it comes; the last is no Written."""
        while True:
            step = await self._steps.get()
            yield step
            if not isinstance(step, Written):
                return


class Model:
    """Loads the model of a folder at once, in its thread. `close` it."""

    def __init__(self, folder: Path, load: Callable[[Path], Engine] = Engine) -> None:
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._loaded: Future[None] = Future()
        self._thread = Thread(target=self._work, args=(folder, load), name=f"onnx {folder.name}", daemon=True)
        self._thread.start()

    async def ready(self) -> None:
        """Returns when the model is loaded. Raises RuntimeError with the runtime's words, ImportError without it."""
        await asyncio.shield(asyncio.wrap_future(self._loaded))

    @property
    def usable(self) -> bool:
        """Whether its thread lives: while it loads, and until it is closed or the runtime cannot go on."""
        return self._thread.is_alive()

    def begin(self, order: Order) -> Turn:
        """Begins a turn of a loaded model. `leave` it."""
        turn = Turn(order)
        self._errands.put(lambda engine: engine.begin(turn))
        if not self.usable:
            turn.hear(Broken("the model was closed"))
        return turn

    def leave(self, turn: Turn) -> None:
        """Stops a turn after the token that it is at; harmless after its end."""
        self._errands.put(lambda engine: engine.leave(turn))

    async def close(self) -> None:
        """Ends what runs and frees the memory."""
        self._errands.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self, folder: Path, load: Callable[[Path], Engine]) -> None:
        try:
            engine = load(folder)
        except (RuntimeError, ImportError) as error:
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(None)
        while self._do_errands(engine):
            engine.step()
        engine.close()

    def _do_errands(self, engine: Engine) -> bool:
        """Does what is to be done, and waits for it where nothing runs. False: the model is closed."""
        while True:
            try:
                errand = self._errands.get(block=not engine.busy)
            except Empty:
                return True
            if errand is None:
                return False
            errand(engine)
