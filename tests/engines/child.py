# SPDX-License-Identifier: Apache-2.0
"""child.py ENGINE MAJOR.MINOR: loads an engine once, says its version, then answers questions, one JSON object a line.
Each is answered by a process of its own, forked when everything is imported."""
import importlib
import json
import os
import signal
import sys
import tempfile
import traceback

SECONDS = 400


def answer(module, question, log):
    with open(log, 'w', encoding='utf-8') as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    signal.alarm(SECONDS)
    try:
        return module.build(question['directory'], question['words'], question['mapping'])
    except BaseException as error:  # an engine's refusal may be SystemExit (its parser) as well
        traceback.print_exc()
        text = ' '.join(str(error).split())
        return {'refused': f'{type(error).__name__}: {text[:300]}'}


def main():
    module = importlib.import_module(f'{sys.argv[1]}_models')
    version = module.load(tuple(int(part) for part in sys.argv[2].split('.')))
    print('ready', version, flush=True)
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            out, log = os.path.join(folder, 'out'), os.path.join(folder, 'log')
            pid = os.fork()
            if pid == 0:
                found = answer(module, json.loads(line), log)
                with open(out, 'w', encoding='utf-8') as file:
                    json.dump(found, file)
                os._exit(0)
            status = os.waitpid(pid, 0)[1]
            if os.environ.get('FERRULE_ENGINE_LOG'):
                os.replace(log, os.environ['FERRULE_ENGINE_LOG'])
            text = json.dumps({'refused': f'it ended with status {status}'})
            if os.path.exists(out):
                with open(out, encoding='utf-8') as file:
                    text = file.read()
        print('answer', text, flush=True)


if __name__ == '__main__':
    main()
