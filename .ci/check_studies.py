"""Every study with records of its present version: its hypothesis was committed before them, no committed record was changed or deleted since, every
record is sound, no announced seed is missing, the verdict can be computed again from the records. Needs the whole history."""
import argparse
import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(root: Path, *words: str) -> str:
    "What git says. Raises CalledProcessError."
    return subprocess.run(['git', '-C', str(root), *words], check=True, capture_output=True, text=True).stdout.strip()


def texts(source: str) -> set[str]:
    "Every string in a Python file, however it is broken over lines; white space is made plain."
    try: tree = ast.parse(source)
    except SyntaxError: return set()
    return {' '.join(node.value.split()) for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def first_commits(root: Path, wanted: set[str]) -> dict[str, str]:
    "The oldest commit in whose library each of these texts stands."
    found, names = {}, []
    for line in git(root, 'log', '--reverse', '--topo-order', '--format=commit %H', '--name-only', '--diff-filter=AM', '--', 'lgm_nbdev').splitlines():
        if line.startswith('commit '): commit = line.split()[1]
        elif line.endswith('.py') and wanted - set(found):
            for text in texts(git(root, 'show', f'{commit}:{line}')) & wanted: found.setdefault(text, commit)
    return found


def folders(root: Path, study) -> list[tuple[str, Path]]:
    "(size of the budget, folder) for each folder of records of a study's present version; smoke runs show that things work, and are no evidence."
    version = '' if study.version == 1 else f'.v{study.version}'
    names = {size: study.name + ('' if size == 'cpu' else f'.{size}') + version for size in study.budgets if size != 'smoke'}
    return [(size, root / 'results' / name) for size, name in names.items() if list((root / 'results' / name).glob('*/seed*.json'))]


def order_fault(root: Path, study, folder: Path, hypothesis: str | None) -> str | None:
    "What is wrong with the order of commits."
    if hypothesis is None: return f'{study.name}: the hypothesis is in no commit, and there are records in {folder.name}. Commit it before you run.'
    commits = git(root, 'log', '--reverse', '--topo-order', '--format=%H', '--', f'results/{folder.name}').splitlines()
    if not commits: return None
    places = [f'results/{folder.name}/*/seed*.{kind}.json' for kind in ('training', 'metrics')]
    if redone := git(root, 'log', '--no-renames', '--diff-filter=MD', '--format=', '--name-only', '--', *places).split():
        return (f'{study.name}: {redone[0]} was changed or deleted after it had been committed. Rules and numbers bind because records are final: '
                'restore it, or raise the version of the study.')
    before = subprocess.run(['git', '-C', str(root), 'merge-base', '--is-ancestor', hypothesis, commits[0]]).returncode == 0
    if before and hypothesis != commits[0]: return None
    return (f'{study.name}: the hypothesis was committed in {hypothesis[:10]}, which is not before the first records of {folder.name} '
            f'in {commits[0][:10]}. A new hypothesis needs a new version of the study, and records of its own.')


def faults(root: Path = ROOT, studies=None):
    "Everything that is wrong with the studies and their records, a sentence each."
    from lgm_nbdev.studies import STUDIES, study_verdict

    studies = STUDIES if studies is None else studies
    there = [(study, size, folder) for study in studies.values() for size, folder in folders(root, study)]
    try: shallow = git(root, 'rev-parse', '--is-shallow-repository') == 'true'
    except (OSError, subprocess.CalledProcessError) as error:
        yield f'{root} has no history that git can read ({error}): whether hypotheses came first cannot be said.'; return
    if shallow: yield 'This clone is shallow, so that the order of commits cannot be seen: fetch everything (actions/checkout with fetch-depth: 0).'; return
    hypotheses = {study.name: ' '.join(study.hypothesis.split()) for study, *_ in there}
    committed = first_commits(root, set(hypotheses.values()))
    for study, size, folder in there:
        if fault := order_fault(root, study, folder, committed.get(hypotheses[study.name])): yield fault
        try: print(f'{study.name} ({size}): {study_verdict(study, root / "results", size).verdict}')
        except (ValueError, FileNotFoundError) as error: yield f'{study.name} ({size}): {error}'


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', type=Path, default=ROOT, help='of the repository')
    problems = list(faults(parser.parse_args().root))
    print('\n'.join(problems) or 'studies: no fault found')
    sys.exit(bool(problems))
