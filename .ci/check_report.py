"""Executing nbs/05_report.ipynb again gives the outputs that are kept in it: every text, word by word; of every picture, that it is there. The file
stays small, and the execution short."""
import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES, MOST_SECONDS = 1_500_000, 60
TEXTS = ('text/markdown', 'text/html', 'text/plain', 'text/latex')


def shown(cell: dict) -> list[str]:
    "What a cell shows: its texts; for a picture the word, since pixels depend on fonts and versions."
    found = []
    for output in cell.get('outputs', []):
        data = output.get('data', {})
        if output['output_type'] == 'stream':
            if output['name'] == 'stdout': found.append(''.join(output['text']))  # warnings depend on the machine
        elif output['output_type'] == 'error': found.append(f"error: {output['ename']}: {output['evalue']}")
        elif any(kind.startswith('image/') for kind in data): found.append('a picture')
        else: found.append(next((''.join(data[kind]) for kind in TEXTS if kind in data), 'nothing'))
    return found


def skipped(cell: dict) -> bool:
    "Whether the tests leave the cell alone."
    return bool(re.search(r'^#\|\s*(slow|cuda)\s*$', ''.join(cell['source']), re.M))


def difference(kept: list[str], now: list[str]) -> str:
    "The first line in which two lists of outputs differ."
    if len(kept) != len(now): return f'kept are {len(kept)} outputs, now there are {len(now)}: {" / ".join(text[:60] for text in now) or "nothing"}'
    old, new = next((a, b) for a, b in zip(kept, now) if a != b)
    lines = [old.splitlines(), new.splitlines()]
    length = max(map(len, lines))
    one, two = next((a, b) for a, b in zip(*(part + [''] * (length - len(part)) for part in lines)) if a != b)
    place = max(0, next((k for k, (a, b) in enumerate(zip(one, two)) if a != b), min(len(one), len(two))) - 60)
    return f'kept `{one[place:place + 160]}`, now `{two[place:place + 160]}`'


def faults_between(kept: dict, now: dict):
    "A sentence for each cell whose outputs differ."
    for old, new in zip(kept['cells'], now['cells']):
        if old['cell_type'] != 'code' or skipped(old): continue
        source = [line for line in ''.join(old['source']).splitlines() if not line.startswith('#|')] or ['']
        if shown(old) != shown(new): yield f'cell {old.get("id", "?")} ({source[0][:80]}): {difference(shown(old), shown(new))}'


def execute(path: Path, root: Path) -> dict:
    "The notebook executed in memory, with one thread, beside its file."
    import nbformat
    from nbclient import NotebookClient

    os.environ.update({name: '1' for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')})
    os.environ['PYTHONPATH'] = os.pathsep.join([str(root), *filter(None, [os.environ.get('PYTHONPATH')])])
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == 'code' and skipped(cell): cell.source = ''
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources={'metadata': {'path': str(path.parent)}}).execute()
    return json.loads(nbformat.writes(notebook))


def faults(root: Path = ROOT):
    "Everything that is wrong with the page, a sentence each."
    path = root / 'nbs' / '05_report.ipynb'
    if path.stat().st_size > MOST_BYTES: yield f'{path.name} has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}: lower `most_bytes` of sample_sheet.'
    start = time.perf_counter()
    found = list(faults_between(json.loads(path.read_text(encoding='utf-8')), execute(path, root)))
    print(f'{path.name}: executed in {time.perf_counter() - start:.0f} s (meant to stay under {MOST_SECONDS}), {path.stat().st_size:,} bytes')
    yield from found
    if found: yield f'{path.name} does not show what its records say: execute it again (CONTRIBUTING.md, "The way of a change") and commit it with the records.'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', type=Path, default=ROOT, help='of the repository')
    problems = list(faults(parser.parse_args().root.resolve()))
    print('\n'.join(problems) or 'report: every displayed number reproduced')
    sys.exit(bool(problems))
