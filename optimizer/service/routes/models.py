"""`/api/models` and `/api/plan`: the GGUFs in the configured folders, and what would fit into how many bytes."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from optimizer.commands.plan import planned
from optimizer.errors import ConfigError, GgufError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.splits import parts_of
from optimizer.named_files import BUNDLED
from optimizer.recipes.arguments import is_layer_types
from optimizer.service.context import Here
from optimizer.service.shapes import Files, Models, Plan, answers
from optimizer.sources import open_model
from optimizer.sources.hub_name import is_hub_name

router = APIRouter(tags=["models"])
Rule = Annotated[str, Field(max_length=500)]
TEXT_ENDINGS, MODEL_ENDINGS, SUITE_ENDINGS = (".txt", ".raw"), (".gguf",), (".yaml", ".yml")


@router.get("/models", **answers(Models))
def list_models(here: Here) -> dict[str, Any]:
    """Every model of the folders by its header; what cannot be read is there with its error."""
    found: list[dict[str, Any]] = []
    for path in here.places.files(MODEL_ENDINGS):
        if parts_of(path.name)[0] != path.name:
            continue  # a split model is listed by its first part
        try:
            model = ModelFile.open(path, planning=True)
        except GgufError as error:
            found.append({"path": str(path), "error": str(error)})
            continue
        found.append(
            {
                "path": str(path),
                "name": model.name,
                "architecture": model.architecture,
                "n_layer": model.n_layer,
                "parameters": model.n_elements,
                "size_bytes": model.size_bytes,
                "files": len(model.paths),
                "experts": model.n_expert,
                "quantized": model.quantized_source,
                "error": None,
            }
        )
    return {"folders": [str(folder) for folder in here.places.folders], "models": found}


@router.get("/files", **answers(Files))
def list_files(here: Here) -> dict[str, Any]:
    """What else a search may name: texts of the folders, importance matrices, prompt suites, ready configurations."""
    return {
        "texts": [str(path) for path in here.places.files(TEXT_ENDINGS)],
        "imatrices": [str(path) for path in here.places.files((".dat", ".imatrix"))],
        "suites": sorted(path.stem for path in (BUNDLED / "prompts").glob("*.yaml")),
        "configs": sorted(path.stem for path in (BUNDLED / "configs").glob("*.yaml")),
    }


@router.get("/plan", **answers(Plan))
def show_plan(
    here: Here,
    model: Annotated[str, Query(max_length=4096)],
    budget: Annotated[str | None, Query(max_length=200)] = None,
    units: str = "layers",
    types: Annotated[str | None, Query(max_length=2000)] = None,
    imatrix: Annotated[str | None, Query(max_length=4096)] = None,
    layer_types: Annotated[str | None, Query(max_length=100_000, description="LAYER_TYPES itself, no file")] = None,
    token_embedding_type: Annotated[str | None, Query(max_length=20)] = None,
    output_tensor_type: Annotated[str | None, Query(max_length=20)] = None,
    pin: Annotated[list[Rule] | None, Query(max_length=100, description="REGEX=TYPE")] = None,
    bound: Annotated[list[Rule] | None, Query(max_length=100, description="REGEX=RANGE")] = None,
    allow_requantize: bool = False,
) -> dict[str, Any]:
    """`layerquant plan MODEL --json`: bytes of every preset, the feasible range, the budget's; by the header alone."""
    place = model if is_hub_name(model) else str(here.places.resolve(model))
    matrix = None if imatrix in (None, "none", "auto", "") else str(here.places.resolve(imatrix or ""))
    if layer_types is not None and not is_layer_types(layer_types):
        raise ConfigError('layer_types: write LAYER_TYPES itself, such as [[0,"Q4_K"],[1,"Q6_K"]]; no file is read')
    if is_hub_name(place):
        open_model(place, planning=True)  # its header is fetched before others have to wait
    with here.planning:
        return planned(
            place, budget, imatrix=matrix, units=units, types=types or None, layer_types=layer_types,
            token_embedding_type=token_embedding_type, output_tensor_type=output_tensor_type, pins=pin, bounds=bound,
            allow_requantize=allow_requantize,
        ).as_json()  # fmt: skip
