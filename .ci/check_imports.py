"""No module of the library imports one to its right in the order of CONTRIBUTING.md, and importing `layers` stays light."""
import ast
import subprocess
import sys
from pathlib import Path

LIB = Path(__file__).resolve().parent.parent / 'lgm_nbdev'
RANKS = [['layers'], ['toyfaces'], ['data'], ['visualization'], ['training'], ['likelihoods'], ['vae', 'objectives'], ['gan'],
         ['bounds', 'flows', 'tricks'], ['classifiers', 'evaluation', 'failure_modes', 'latents', 'conditional'], ['faces'], ['face_models'], ['experiments'], ['studies'], ['report', 'face_page'], ['course']]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
HEAVY = ('matplotlib', 'IPython', 'tensorboard', 'fastcore', 'torchvision')


def imported(path: Path) -> set[str]:
    "The modules of this library that one file imports, at its top or inside a function."
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ''] if node.module else [alias.name for alias in node.names]
            if node.level: found.update(name.split('.')[0] for name in names)
            found.update(name.split('.')[1] for name in names if name.startswith('lgm_nbdev.'))
        elif isinstance(node, ast.Import):
            found.update(alias.name.split('.')[1] for alias in node.names if alias.name.startswith('lgm_nbdev.'))
    return found


def faults():
    "Imports against the order, modules without a place in it, and what `layers` drags in."
    for path in sorted(p for p in LIB.glob('*.py') if not p.name.startswith('_')):
        if path.stem not in RANK: yield f'{path.stem}: has no place in the import order'; continue
        for name in sorted(imported(path)):
            if not name.startswith('_') and RANK.get(name, 99) > RANK[path.stem]: yield f'{path.stem} imports {name}, which stands to its right'
    code = 'import sys, torch; before = set(sys.modules); import lgm_nbdev.layers; print(*sorted(set(sys.modules) - before))'
    new = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=LIB.parent).stdout.split()
    for name in sorted({module.split('.')[0] for module in new} & set(HEAVY)): yield f'importing lgm_nbdev.layers pulls in {name}'


if __name__ == '__main__':
    problems = list(faults())
    print('\n'.join(problems) or 'imports: no fault found')
    sys.exit(bool(problems))
