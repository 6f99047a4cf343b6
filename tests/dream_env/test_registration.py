"""`diffworld/Dream-v0` is there after an import, twice does no harm, and the import stays cheap."""

import importlib
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import diffworld
from diffworld.dream_env import DreamEnv, DreamVectorEnv
from diffworld.game import ActionSpace, GameSpec
from diffworld.runs import Model


def test_importing_registers_and_brings_no_torch(run: Path) -> None:
    code = f"""if True:
        import sys
        import diffworld
        assert not {{"torch", "matplotlib", "ale_py"}} & set(sys.modules), "the import is not cheap"
        import gymnasium
        spec = gymnasium.spec("diffworld/Dream-v0")
        assert "torch" not in sys.modules
        env = gymnasium.make(spec, model={str(run)!r}, device="cpu")
        assert env.reset(seed=0)[0].shape == (10, 10, 3)
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=600)


@pytest.mark.thorough
def test_gymnasium_imports_the_package_by_itself(run: Path) -> None:
    code = f"""if True:
        import gymnasium
        gymnasium.make("diffworld:diffworld/Dream-v0", model={str(run)!r}, device="cpu").reset(seed=0)
        gymnasium.make_vec("diffworld:diffworld/Dream-v0", 2, model={str(run)!r}, device="cpu").reset(seed=0)
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=600)


def test_registering_again_says_nothing() -> None:
    importlib.reload(diffworld)
    assert gymnasium.spec("diffworld/Dream-v0").vector_entry_point == "diffworld.dream_env:DreamVectorEnv"


def test_the_public_names() -> None:
    assert set(diffworld.__all__) == {"ActionSpace", "GameSpec", "Model", "__version__", "load"}
    assert (diffworld.ActionSpace, diffworld.GameSpec, diffworld.Model) == (ActionSpace, GameSpec, Model)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        diffworld.lode  # noqa: B018


def test_made_by_gymnasium_they_are_what_they_should(run: Path, model: Model) -> None:
    env = gymnasium.make("diffworld/Dream-v0", model=run, device="cpu")
    assert isinstance(env.unwrapped, DreamEnv) and env.unwrapped.dreams.model.title == "catch"
    envs = gymnasium.make_vec("diffworld/Dream-v0", num_envs=3, model=model)
    assert isinstance(envs, DreamVectorEnv) and envs.num_envs == 3 and envs.dreams.model is model


def test_a_loaded_model_is_shared_not_copied(model: Model) -> None:
    env = gymnasium.make("diffworld/Dream-v0", model=model)
    assert env.spec is not None and env.spec.kwargs["model"] is model
    again = env.spec.make()
    assert isinstance(again.unwrapped, DreamEnv) and again.unwrapped.dreams.model is model


def test_gymnasiums_own_vectors_hold_it_too(model: Model) -> None:
    envs = gymnasium.make_vec("diffworld/Dream-v0", 2, vectorization_mode="sync", model=model)
    ours = gymnasium.make_vec("diffworld/Dream-v0", 2, model=model)
    assert (envs.reset(seed=4)[0] == ours.reset(seed=4)[0]).all()
