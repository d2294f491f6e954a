"""The command that shows who is here."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import rxmps3 as library
from tests.cli.commands import several


async def test_who_shows_who_is_here(tmp_path: Path) -> None:
    url = f"file:{tmp_path / 'bucket'}"
    async with library.connect(url, by="ana") as ana, library.connect(url, manifest="other", by="bob") as bob:
        with ana.presence({"name": "Ana\n"}) as here, bob.presence(1) as there:
            async with ana.iterate(here) as seen, bob.iterate(there) as elsewhere:
                await anext(seen)
                await anext(elsewhere)
            commands = ("who", url), ("who", url, "--json"), ("who", url, "-m", "nobody"), ("who", url, "--ttl", "0")
            plain, as_json, nobody, wrong = await asyncio.to_thread(several, *commands)
            (record,) = as_json.records
            times = [datetime.fromisoformat(record.pop(name)) for name in ("since", "seen")]
            assert record == {"id": here.id, "me": {"name": "Ana\n"}, "by": "ana"}
            assert times[0] <= times[1]
            (line,) = plain.out.splitlines()
            assert line.endswith(f'  ana         {here.id}  {{"name":"Ana\\n"}}')
            assert (nobody.code, nobody.out) == (0, "")
            assert "nobody is at manifest 'nobody'" in nobody.err
            assert (wrong.code, wrong.out) == (2, "")
