"""Every exercise of every chapter: untouched, its check fails; with the solution pasted in, it passes; at least two wrong solutions fail, each with a
message that names a line of the check. `lgm_nbdev.course.prove` does it; the wrong solutions stand in hidden cells beside the exercises.

    python .ci/check_course.py [CHAPTER ...]      the proof, of all chapters or of these
    python .ci/check_course.py --nbgrader         one chapter through nbgrader: release, submissions, autograding, gradebook
    python .ci/check_course.py --report           the template of a report, from top to bottom in an empty folder"""
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.dont_write_bytecode = True  # this folder is no package
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lgm_nbdev.course import Chapter, all_chapters, find_chapter, prove, read_chapter, report_template, write_starters  # noqa: E402


def proof(names: list[str]) -> int:
    "Proves the chapters of these names, all without names; prints one line per chapter and all problems."
    chapters = [chapter for chapter in all_chapters() if not names or chapter.name in names]
    known = {chapter.name for chapter in chapters}
    exercises, refused, problems = 0, 0, [f'there is no chapter {name} with exercises' for name in set(names) - known]
    for chapter in chapters:
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            proofs = prove(chapter)
        wrong = sum(len(proof.refused) for proof in proofs)
        exercises, refused = exercises + len(proofs), refused + wrong
        print(f'{chapter.name}: {len(proofs)} exercises, {wrong} wrong solutions refused ({time.perf_counter() - start:.1f} s)', flush=True)
        problems += [f'{chapter.name}, {proof.name}: {problem}' for proof in proofs for problem in proof.problems]
    print('\n'.join(problems) or f'course: {exercises} exercises, {refused} wrong solutions refused, no fault found')
    return 1 if problems or not exercises else 0


def graded(chapter: Chapter, folder: Path) -> dict[str, float]:
    "Points of a solved and of an untouched notebook, and the most one can have, from nbgrader's gradebook."
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config
    config = Config(CourseDirectory={'root': str(folder), 'course_id': 'lgm', 'db_url': f'sqlite:///{folder}/gradebook.db'}, ExecutePreprocessor={'timeout': 300})
    write_starters([chapter], folder / 'source' / 'week', nbgrader=True)
    api = NbGraderAPI(config=config)
    results = [api.generate_assignment('week', create=True)]
    for student, version in (('solved', 'source'), ('untouched', 'release')):
        if not results[-1]['success']: raise RuntimeError(f"{results[-1]['log']}\n{results[-1]['error']}")
        (folder / 'submitted' / student).mkdir(parents=True)
        shutil.copytree(folder / version / 'week', folder / 'submitted' / student / 'week')
        results.append(api.autograde('week', student, create=True))
    with api.gradebook as book:
        return {s: book.find_submission('week', s).score for s in ('solved', 'untouched')} | {'most': book.find_assignment('week').max_score}


def through_nbgrader(name: str = 'conditional') -> int:
    "One chapter through nbgrader: all points for a solved notebook, none for an untouched one."
    os.environ['PATH'] = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])  # nbgrader calls a program of its own by name
    chapter = read_chapter(find_chapter(name))
    most = sum(exercise.points for exercise in chapter.exercises)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action='ignore'):
        points = graded(chapter, Path(folder))
    print(f'{chapter.name} through nbgrader: {points}')
    return 0 if points == {'solved': most, 'untouched': 0, 'most': most} else 1


def through_report() -> int:
    "The template of a report runs, and ends with a verdict about the study in it."
    space = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for cell in report_template()['cells']:
            if cell['cell_type'] == 'code': exec(''.join(cell['source']), space)
    print(f"{space['study'].name}: {space['evidence'].state}, runs {sorted(set(space['done'].values()))}")
    return 0 if space['evidence'].state == 'finished' and set(space['done'].values()) == {'finished'} else 1


if __name__ == '__main__':
    ways = {'--nbgrader': through_nbgrader, '--report': through_report}
    sys.exit(ways[sys.argv[1]]() if sys.argv[1:2] and sys.argv[1] in ways else proof(sys.argv[1:]))
